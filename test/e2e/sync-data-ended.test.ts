/** `graph sync-data` that is ended before its time, held back, or without room for what it writes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { smallDisk } from '../support/full-disk.ts';
import { createPlatform, eventually, type Platform, type Process } from '../support/platform.ts';
import { soak } from '../support/soak.ts';
import { createProxy, type Proxy } from '../support/tcp-proxy.ts';

const ENTITIES = 1200;
const DRIFTING = ENTITIES / 3;
const BATCH = 10;
const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

let platform: Platform;
let publisher: Process;
let projector: Process;
let slowly: Proxy;
let folder: string;
/** The reports of a run without a break: every third entity is missing. */
let whole: string;
let wholeText: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'reports-'));
  platform = await createPlatform('ended');
  const { sql, env } = platform;
  slowly = await createProxy(env['DATABASE_URL'] ?? '');
  slowly.delay(10);
  publisher = platform.start(['publish']);
  await publisher.logged(/streaming/);
  projector = platform.start(['project']);
  await sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at)
     select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'ttp', '{}', now(), now()
     from generate_series(0, ${ENTITIES - 1}) n`,
  );
  await platform.expectEqual();
  await loseNodes();
  const dry = async (results: string) => {
    const { code, stderr } = await syncData(results, ['--dry-run']);
    expect(code, stderr).toBe(0);
    return readFileSync(results, 'utf8');
  };
  whole = await dry(join(folder, 'whole.json'));
  wholeText = await dry(join(folder, 'whole.txt'));
});
afterAll(async () => {
  await slowly.close();
  await platform.dispose();
  rmSync(folder, { recursive: true });
});

let files = 0;
const nextResults = (extension = 'json') => join(folder, `report-${files++}.${extension}`);
const command = (results: string, args: readonly string[]) => [
  'sync-data',
  '--check-results-file',
  results,
  '--batch-size',
  String(BATCH),
  ...args,
];
const syncData = (results: string, args: readonly string[]) =>
  platform.run(command(results, args), { LOG_LEVEL: 'warn' });

/** Of which PostgreSQL is slow to answer, so that there is a middle of it. */
const slowSyncData = (results: string, args: readonly string[]) =>
  platform.start(command(results, args), { DATABASE_URL: slowly.url, LOG_LEVEL: 'info' });

/** How many entities it has compared, all from the first. */
function comparedIn(results: string): number {
  const path = `${results}.resume`;
  const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : [];
  const last = lines.findLast((line) => line.startsWith('{"after"'));
  return last === undefined ? 0 : Number((JSON.parse(last) as { after: string }).after.slice(-12)) + 1;
}
const compared = (results: string, entities: number) =>
  eventually(`${entities} entities are compared`, () => Promise.resolve(comparedIn(results) >= entities));

/** The server finds out by itself that a client is no more. */
const lockReleased = () =>
  eventually('the run that was ended holds no lock', async () => {
    const { rowCount } = await platform.sql.query(
      `select from pg_locks l join pg_database d on d.oid = l.database
       where locktype = 'advisory' and datname = current_database()`,
    );
    return rowCount === 0;
  });

/** Every third one. */
const loseNodes = () =>
  platform.cypher(`UNWIND $ids AS id MATCH (n:${platform.names.labels.entity} {id: id}) DETACH DELETE n`, {
    ids: Array.from({ length: DRIFTING }, (_, n) => idOf(3 * n + 1)),
  });

const touch = (n: number, micros: number) =>
  platform.cypher(
    `MATCH (n:${platform.names.labels.entity} {id: $id}) SET n.last_updated_at = n.last_updated_at + ${micros}`,
    { id: idOf(n) },
  );

const insertExtract = () =>
  platform.sql.query(
    `insert into extract (id, kind, value, created_at, last_updated_at)
     select n, 'domain', n::text, now(), now() from (select count(*) + 1 as n from extract) as one`,
  );

describe('a run that is ended half way', () => {
  it.each<[NodeJS.Signals, number | string, string]>([
    ['SIGKILL', 'SIGKILL', 'json'],
    ['SIGTERM', 143, 'txt'],
    ['SIGINT', 130, 'json'],
  ])('by %s leaves no report, and is resumed where it was', async (signal, code, extension) => {
    const results = nextResults(extension);
    const half = slowSyncData(results, ['--dry-run']);
    await compared(results, ENTITIES / 2);
    expect(await half.kill(signal)).toBe(code);
    expect(existsSync(results)).toBe(false);
    const done = comparedIn(results);
    expect(done).toBeLessThan(ENTITIES);
    await lockReleased();

    const other = await syncData(results, ['--dry-run', '--resume', '--entity-types', 'ttp']);
    expect({ code: other.code, stdout: other.stdout }).toEqual({ code: 2, stdout: '' });
    expect(other.stderr).toMatch(/^--resume: .*\.resume is of other options, .*\n$/);

    // In the last page that was compared: who reads it again finds another timestamp.
    const last = done - 1;
    const steady = last % 3 === 1 ? last - 1 : last;
    await touch(steady, -1);
    const resumed = await syncData(results, ['--dry-run', '--resume']);
    await touch(steady, 1);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(readFileSync(results, 'utf8')).toBe(extension === 'txt' ? wholeText : whole);
    expect(existsSync(`${results}.resume`)).toBe(false);
  });

  it('without --resume begins again', async () => {
    const results = nextResults();
    const half = slowSyncData(results, ['--dry-run']);
    await compared(results, ENTITIES / 2);
    await half.kill('SIGKILL');
    await lockReleased();
    await touch(0, -1);
    const again = await syncData(results, ['--dry-run']);
    await touch(0, 1);
    expect(again.code, again.stderr).toBe(0);
    expect(JSON.parse(readFileSync(results, 'utf8'))).toMatchObject({ n_outdated: 1, n_missing: DRIFTING });
  });

  it('while it writes its report leaves it whole or absent', async () => {
    for (const afterMs of soak ? [0, 1, 2, 4, 8] : [0, 2, 8]) {
      const results = nextResults();
      const run = platform.start(command(results, ['--dry-run']));
      await eventually('the report is written', () =>
        Promise.resolve(run.stdout().includes('Writing check_results file')),
      );
      await delay(afterMs);
      await run.kill('SIGKILL');
      if (existsSync(results)) expect(readFileSync(results, 'utf8')).toBe(whole);
      else {
        await lockReleased();
        const resumed = await syncData(results, ['--dry-run', '--resume']);
        expect(resumed.code, resumed.stderr).toBe(0);
        expect(readFileSync(results, 'utf8')).toBe(whole);
      }
      await lockReleased();
    }
  });
});

it('a run that has lost its lock ends, before anybody else may write the same', async () => {
  const results = nextResults();
  const run = slowSyncData(results, []);
  await compared(results, 3 * BATCH);
  await platform.sql.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where application_name like 'graph sync-data of process %' and datname = current_database()`,
  );
  expect(await run.exited, run.stderr()).toBe(1);
  const said = run
    .stderr()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('{'));
  expect(said).toEqual([expect.stringMatching(/keeps other runs of graph sync-data out is lost\./)]);
  expect(existsSync(results)).toBe(false);
});

it.each<[string, () => Process]>([
  ['the graph', () => projector],
  ['Kafka', () => publisher],
])('with --throttle pauses while %s is behind, and goes on', async (_, slow) => {
  const results = nextResults();
  const run = slowSyncData(results, ['--dry-run', '--throttle', '200']);
  await compared(results, 3 * BATCH);
  slow().child.kill('SIGSTOP');
  try {
    await insertExtract();
    expect(await run.logged(/the scan pauses/)).toMatchObject({ limitMs: 200 });
    const paused = comparedIn(results);
    expect(paused).toBeLessThan(ENTITIES);
    // Longer than it takes to look at the lag again.
    await delay(1200);
    expect(comparedIn(results)).toBe(paused);
  } finally {
    slow().child.kill('SIGCONT');
  }
  await run.logged(/the scan goes on/);
  expect(await run.exited, run.stderr()).toBe(0);
  expect(readFileSync(results, 'utf8')).toBe(whole);
});

it('what cannot be confirmed is listed apart, and not repaired', async () => {
  for (const args of [['--dry-run'], []]) {
    const results = nextResults();
    const run = slowSyncData(results, ['--max-wait', '1', ...args]);
    await compared(results, 3 * BATCH);
    // Who waits for the stream from now on waits in vain.
    projector.child.kill('SIGSTOP');
    try {
      await insertExtract();
      expect(await run.exited, run.stderr()).toBe(args.length === 0 ? 1 : 0);
    } finally {
      projector.child.kill('SIGCONT');
    }
    const { entity_ids_unconfirmed, ...rest } = JSON.parse(readFileSync(results, 'utf8')) as Record<
      string,
      unknown
    >;
    expect(entity_ids_unconfirmed).toEqual(Array.from({ length: DRIFTING }, (_, n) => idOf(3 * n + 1)));
    expect(rest).toEqual({
      entity_ids_to_delete: [],
      entity_ids_to_reindex: [],
      n_missing: 0,
      n_not_deleted: 0,
      n_ok: ENTITIES - DRIFTING,
      n_outdated: 0,
      n_strange: 0,
      n_unconfirmed: DRIFTING,
    });
    expect(run.stderr()).toMatch(
      new RegExp(`^${DRIFTING} entities changed all the time .* listed apart and not repaired\\.$`, 'm'),
    );
  }
  expect((await platform.run(['wait'])).code).toBe(0);
  const graph = await platform.cypher(`MATCH (n:${platform.names.labels.entity}) RETURN count(n) AS n`);
  expect(graph).toEqual([{ n: BigInt(ENTITIES - DRIFTING) }]);
});

describe('without room', () => {
  let spoolBytes: number;
  beforeAll(async () => {
    const refused = nextResults();
    const { code, stderr } = await syncData(refused, ['--max-repairs', '1']);
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/max-repairs/) as string,
    });
    spoolBytes = statSync(`${refused}.resume`).size;
  });

  /** A repair run that fails, and repairs nothing. */
  async function fails(run: () => Promise<{ code: number | string; stdout: string; stderr: string }>) {
    const { code, stdout, stderr } = await run();
    expect(code, stderr).toBe(1);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stdout).not.toContain('Deleting');
    // Every request made by now would be served by then.
    expect((await platform.run(['wait'])).code).toBe(0);
    const results = nextResults();
    await syncData(results, ['--dry-run']);
    expect(readFileSync(results, 'utf8')).toBe(whole);
    return stderr;
  }

  it('for the report on a full file system nothing is repaired and nothing half-written; with room it is resumed', async (context) => {
    const disk = smallDisk(Math.ceil(spoolBytes / 4096 + 4) * 4096);
    if ('unavailable' in disk) {
      context.skip(disk.unavailable);
      return;
    }
    try {
      const results = join(disk.folder, 'report.json');
      const stderr = await fails(() => syncData(results, []));
      expect(stderr).toMatch(/^The report .*report\.json could not be written \(ENOSPC\)/);
      expect(readdirSync(disk.folder)).toEqual(['report.json.resume']);

      disk.resize(4 * spoolBytes);
      const resumed = await syncData(results, ['--dry-run', '--resume']);
      expect(resumed.code, resumed.stderr).toBe(0);
      expect(readFileSync(results, 'utf8')).toBe(whole);
    } finally {
      disk.dispose();
    }
  });

  it('for what it finds, it ends before any report', async () => {
    const results = nextResults();
    const stderr = await fails(async () => {
      const run = platform.start(command(results, []), { LOG_LEVEL: 'warn' }, { maxFileBytes: 8192 });
      return { code: await run.exited, stdout: run.stdout(), stderr: run.stderr() };
    });
    expect(stderr).toMatch(/^\S*\.resume could not be written \(EFBIG\)/);
    expect(existsSync(results)).toBe(false);
    const resumed = await syncData(results, ['--dry-run', '--resume']);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(readFileSync(results, 'utf8')).toBe(whole);
  });
});

// The last ones: they repair.
it('on a terminal shows a line of each phase, no longer than that is wide, and events in lines of their own', async (context) => {
  const COLUMNS = 72;
  const args = command(nextResults(), []).map((arg) => `'${arg}'`);
  const line = `stty cols ${COLUMNS} && exec '${process.execPath}' dist/cli/main.js graph ${args.join(' ')}`;
  const terminal = spawn('script', ['-qec', line, '/dev/null'], {
    env: { ...platform.env, PATH: process.env['PATH'], DATABASE_URL: slowly.url, LOG_LEVEL: 'warn' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let screen = '';
  terminal.stdout.setEncoding('utf8').on('data', (text: string) => (screen += text));
  try {
    expect(await once(terminal, 'close'), screen).toEqual([0, null]);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    context.skip('there is no terminal without script');
  }
  const cleared = '\r\u001b[2K';
  for (const { index } of screen.matchAll(/\{"/g)) {
    const before = screen.slice(0, index);
    expect(before === '' || before.endsWith('\n') || before.endsWith(cleared), screen).toBe(true);
  }
  const lines = screen
    .replaceAll(cleared, '\n')
    .split(/[\r\n]+/)
    .filter((text) => text !== '');
  const events = lines.filter((text) => text.startsWith('{'));
  expect(events.map((text) => (JSON.parse(text) as { event: string }).event)).toHaveLength(5);
  const progress = lines.filter((text) => !text.startsWith('{'));
  for (const text of progress) expect(text.length, text).toBeLessThan(COLUMNS);
  expect(progress).toContainEqual(expect.stringMatching(`^checking: [█░]+ \\d+ of some ${ENTITIES}, `));
  expect(progress).toContainEqual(expect.stringMatching(`^repairing: [█░]+ 0 of some ${DRIFTING}, 0/s, `));
});

/** A repair, and what is done while nothing of it gets into the graph. */
async function repairing(args: readonly string[], during: (run: Process) => Promise<void>): Promise<void> {
  await loseNodes();
  const results = nextResults();
  const session = platform.driver.session();
  const open = session.beginTransaction();
  await open.run('MATCH (p:_Progress {namespace: $name}) REMOVE p._lock', { name: platform.name });
  const run = platform.start(command(results, args));
  await eventually('it repairs', () => Promise.resolve(run.stdout().includes('Deleting')));
  projector.child.kill('SIGSTOP');
  await open.rollback();
  await session.close();
  try {
    await during(run);
    expect(readFileSync(results, 'utf8')).toBe(whole);
  } finally {
    projector.child.kill('SIGCONT');
  }
}

it('that is interrupted while it repairs exits 130, and leaves its report; the next one repairs the rest', async () => {
  await repairing([], async (run) => {
    expect(await run.kill('SIGINT'), run.stderr()).toBe(130);
    expect(run.stdout()).not.toContain('sync-data.done');
  });
  const { code, stderr } = await syncData(nextResults(), []);
  expect(code, stderr).toBe(0);
  await platform.expectEqual();
});

it('whose stream stops while it repairs ends with what is pending; what it asked for is served later', async () => {
  await repairing(['--max-wait', '2'], async (run) => {
    expect(await run.exited, run.stderr()).toBe(1);
    expect(run.stderr()).toMatch(
      new RegExp(
        `^${DRIFTING} entities still differ .*what was asked for is durable, and will be served`,
        'm',
      ),
    );
  });
  await platform.expectEqual();
});
