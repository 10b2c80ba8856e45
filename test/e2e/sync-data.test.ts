/** `graph sync-data` against drift that was put there by hand, with reports computed by hand. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPlatform, type Platform, type Process } from '../support/platform.ts';

const ENTITIES = 30;
const NEWEST = Date.UTC(2024, 5, 1);
const HOUR_MS = 3_600_000;
const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
/** Entity n is `indicator` or `ttp` by turns, and n hours older than the newest. */
const typeOf = (n: number) => (n % 2 === 0 ? 'indicator' : 'ttp');
const updatedMs = (n: number) => NEWEST - n * HOUR_MS;

let platform: Platform;
let replicator: Process;
let folder: string;
let entity: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'reports-'));
  platform = await createPlatform('sync');
  entity = platform.names.labels.entity;
  replicator = platform.start(['replicate']);
  await replicator.logged(/streaming/);
  for (let n = 0; n < ENTITIES; n++)
    await platform.sql.query(
      `insert into entity (id, type, data, created_at, last_updated_at)
       values ($1, $2, '{"title": "as it was"}', now(), $3)`,
      [idOf(n), typeOf(n), new Date(updatedMs(n))],
    );
  await platform.expectEqual();
});
afterAll(async () => {
  await platform.dispose();
  rmSync(folder, { recursive: true });
});

let files = 0;
async function syncData(args: readonly string[], extension = 'json', env = {}) {
  const file = join(folder, `report-${files++}.${extension}`);
  const { code, stdout, stderr } = await platform.run(
    ['sync-data', '--check-results-file', file, '--max-wait', '20', ...args],
    { LOG_LEVEL: 'warn', ...env },
  );
  const read = () => readFileSync(file, 'utf8');
  const events = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { code, file, events, stderr, read, report: () => JSON.parse(read()) as Record<string, unknown> };
}

const node = (n: number, change: string) =>
  platform.cypher(`MATCH (n:${entity} {id: $id}) ${change}`, { id: idOf(n) });

/** The whole of what differs: 1 missing, 2 and 5 outdated, 3 strange, two foreign nodes; 4 has equal timestamps. */
async function injectDrift(): Promise<void> {
  await node(1, 'DETACH DELETE n');
  await node(2, 'SET n.last_updated_at = n.last_updated_at - 3600000000 * 24');
  await node(3, 'SET n.last_updated_at = n.last_updated_at + 1');
  await node(4, `SET n.title = 'edited by hand'`);
  await node(5, `SET n.last_updated_at = toString(n.last_updated_at)`);
  await platform.cypher(
    `CREATE (:${entity} {id: $id, type: 'ttp', last_updated_at: 1}), (:${entity} {id: 'Foreign', last_updated_at: 1}),
            (:${entity}:Stub {id: 'stub'}), (:${entity} {id: 7, last_updated_at: 1})`,
    { id: idOf(900) },
  );
}

const TO_DELETE = [idOf(900), 'Foreign'];
const TO_REINDEX = [1, 2, 3, 5].map(idOf);

const timestamp = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/) as string;

function checkEvents(filename: string, counts: Readonly<Record<string, number>>) {
  const common = { level: 'info', logger: 'eiq.platform.scripts.sync_data_commons', timestamp };
  return [
    { event: 'Starting data check', ...common },
    { event: 'Data check finished', ...common, ...counts },
    { event: 'Writing check_results file', filename, ...common },
  ];
}

function repairEvents(deletions: number, total: number) {
  const common = { level: 'info', logger: 'eiq.platform.scripts.sync_data_in_neo4j', timestamp };
  // Four digits of less than a minute, as C's %.4g writes them.
  const took = expect.stringMatching(/^(0\.0{0,3}[1-9]\d{0,3}|[1-9](\.\d{1,3})?e-0[5-9])m$/) as string;
  return [
    { event: `Deleting ${deletions} entities that should not be in Neo4J`, ...common },
    { event: 'sync-data.done', ...common, took, total },
  ];
}

describe('a dry run', () => {
  it('of a graph that is right has nothing but ok', async () => {
    const { code, report } = await syncData(['--dry-run', '--fail-on-drift', '--batch-size', '7']);
    expect(code).toBe(0);
    expect(report()).toEqual({
      entity_ids_to_delete: [],
      entity_ids_to_reindex: [],
      n_missing: 0,
      n_not_deleted: 0,
      n_ok: ENTITIES,
      n_outdated: 0,
      n_strange: 0,
    });
  });

  it('reports the five classes, in the events and the file of the specification', async () => {
    await injectDrift();
    const { code, file, events, stderr, read } = await syncData(['--dry-run', '--batch-size', '4']);
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/id is no text/) as string,
    });
    const counts = { n_missing: 1, n_not_deleted: 2, n_ok: ENTITIES - 4, n_outdated: 2, n_strange: 1 };
    expect(events).toEqual(checkEvents(file, counts));
    expect(read()).toBe(
      `${JSON.stringify({ entity_ids_to_delete: TO_DELETE, entity_ids_to_reindex: TO_REINDEX, ...counts }, null, 2)}\n`,
    );
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('as text', async () => {
    const { read } = await syncData(['--dry-run'], 'txt');
    expect(read()).toBe(
      [
        'entity_ids_to_delete: 2',
        ...TO_DELETE.map((id) => `  ${id}`),
        'entity_ids_to_reindex: 4',
        ...TO_REINDEX.map((id) => `  ${id}`),
        'n_missing: 1',
        'n_not_deleted: 2',
        `n_ok: ${ENTITIES - 4}`,
        'n_outdated: 2',
        'n_strange: 1',
        '',
      ].join('\n'),
    );
  });

  it('of some types, and of what changed after an instant, compares the whole of what either side chooses', async () => {
    const ttps = await syncData(['--dry-run', '--entity-types', 'ttp,ttp', '--batch-size', '3']);
    expect(ttps.report()).toMatchObject({
      entity_ids_to_delete: [idOf(900)],
      entity_ids_to_reindex: [1, 3, 5].map(idOf),
      n_ok: ENTITIES / 2 - 3,
    });

    // Strictly later: entities 0 to 2. In the graph, 2 is a day older: it is outdated, not missing.
    const date = new Date(updatedMs(3)).toISOString().slice(0, 16).replace('T', ' ');
    // Of UTC, wherever the process is.
    const recent = await syncData(['--dry-run', '--changed-after', date], 'json', { TZ: 'Asia/Tokyo' });
    // Entity 3 is a microsecond ahead in the graph, and so a candidate there.
    expect(recent.report()).toMatchObject({
      entity_ids_to_delete: [],
      entity_ids_to_reindex: [1, 2, 3].map(idOf),
      n_missing: 1,
      n_ok: 1,
      n_outdated: 1,
      n_strange: 1,
    });
  });

  it('exits 3 with --fail-on-drift, and a repair beyond --max-repairs is refused with the report written', async () => {
    expect(await syncData(['--dry-run', '--fail-on-drift'])).toMatchObject({ code: 3 });
    const refused = await syncData(['--max-repairs', '5']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/6 entities differ, which is more than --max-repairs 5/);
    expect(refused.report()).toMatchObject({ n_missing: 1 });
    expect(refused.events).toHaveLength(3);
  });
});

describe('a repair', () => {
  it('deletes and re-indexes by asking the stream, edges included, and says so in the events', async () => {
    const { sql, names } = platform;
    await sql.query(
      `insert into relation (id, key, source_id, source_type, target_id, target_type, created_at, last_updated_at)
       values ($1, 'uses', $2, 'ttp', $3, 'indicator', now(), now())`,
      [idOf(500), idOf(1), idOf(2)],
    );
    await platform.run(['wait']);
    // The missing entity's relation is gone as well; a foreign node has a relation that no row has.
    await node(1, 'DETACH DELETE n');
    await platform.cypher(
      `MATCH (f:${entity} {id: 'Foreign'}), (n:${entity} {id: $id}) CREATE (f)-[:${names.types.related} {id: $of}]->(n)`,
      { id: idOf(6), of: idOf(501) },
    );
    const startedAt = Date.now();
    // No more than that many differ.
    const { code, file, events, stderr, report } = await syncData(['--max-repairs', '6']);
    const tookMs = Date.now() - startedAt;
    expect(code, stderr).toBe(0);
    expect(report()).toMatchObject({ entity_ids_to_delete: TO_DELETE, entity_ids_to_reindex: TO_REINDEX });
    const counts = { n_missing: 1, n_not_deleted: 2, n_ok: ENTITIES - 4, n_outdated: 2, n_strange: 1 };
    expect(events).toEqual([...checkEvents(file, counts), ...repairEvents(2, 4)]);
    for (const event of events) expect(Object.keys(event)).toEqual(Object.keys(event).sort());
    const times = events.map((event) => String(event['timestamp']));
    expect(times).toEqual([...times].sort());
    for (const time of times) expect(Date.parse(time) - startedAt).toBeLessThanOrEqual(tookMs);
    expect(Date.parse(times[0] ?? '')).toBeGreaterThanOrEqual(startedAt);
    // To the microsecond.
    expect(times.filter((time) => !time.endsWith('000Z'))).not.toEqual([]);
    const minutes = parseFloat(String(events.at(-1)?.['took']));
    const repairMs = Date.parse(times[4] ?? '') - Date.parse(times[3] ?? '');
    expect(minutes * 60_000).toBeGreaterThanOrEqual(repairMs - 2);
    expect(minutes * 60_000).toBeLessThanOrEqual(tookMs);

    // By the letter of the specification, content of equal timestamps is not looked at; nor are nodes without a text id.
    expect(await node(4, 'RETURN n.title AS title')).toEqual([{ title: 'edited by hand' }]);
    await node(4, `SET n.title = 'as it was'`);
    await platform.cypher(`MATCH (n:${entity}) WHERE n.id = 7 OR n.id = 'stub' DETACH DELETE n`);
    await platform.expectEqual();
  });

  it('leaves a graph that is right, of which the next run has nothing to report', async () => {
    const { code, file, report, events } = await syncData([]);
    expect(code).toBe(0);
    const counts = { n_missing: 0, n_not_deleted: 0, n_ok: ENTITIES, n_outdated: 0, n_strange: 0 };
    expect(report()).toEqual({ entity_ids_to_delete: [], entity_ids_to_reindex: [], ...counts });
    expect(events).toEqual([...checkEvents(file, counts), ...repairEvents(0, 0)]);
  });
});

describe('what is wrong is found before anything is read', () => {
  it.each<[string, readonly string[], RegExp]>([
    ['no results file', ['--dry-run'], /--check-results-file/],
    ['another extension', ['--check-results-file', '/tmp/report.csv'], /must be \.json or \.txt/],
    ['a folder that is not there', ['--check-results-file', '/nowhere/report.json'], /cannot be written/],
    [
      'a type that is unknown',
      ['--entity-types', 'ttp,gadget'],
      /"gadget" not known; the types are campaign, /,
    ],
    ['an empty type', ['--entity-types', ''], /not known/],
    ['a day that does not exist', ['--changed-after', '2024-02-30'], /There is no 2024-02-30/],
    ['another format', ['--changed-after', '30/01/2024'], /is no date/],
    [
      'an hour that is skipped',
      ['--changed-after', '2024-03-31 02:30', '--timezone', 'Europe/Amsterdam'],
      /skip/,
    ],
    [
      'a zone that is none',
      ['--changed-after', '2024-01-01', '--timezone', 'Mars/Olympus'],
      /'Mars\/Olympus' is invalid\. Use an IANA name/,
    ],
    ['nor without a date', ['--timezone', 'Mars/Olympus'], /'Mars\/Olympus' is invalid\. Use an IANA name/],
    ['no batch', ['--batch-size', '0'], /whole number/],
    ['half a batch', ['--batch-size', '1.5'], /whole number/],
    ['a batch of words', ['--batch-size', 'many'], /whole number/],
    ['drift that would be repaired', ['--fail-on-drift'], /needs --dry-run/],
    ['nothing to resume', ['--resume'], /there is no .*none\.json\.resume to go on from/],
    ['no lag', ['--throttle', '0'], /whole number/],
    ['a lag of words', ['--throttle', 'little'], /whole number/],
  ])('%s', async (_, args, message) => {
    const file = join(folder, 'none.json');
    const given = args.includes('--check-results-file') || args[0] === '--dry-run';
    const { code, stdout, stderr } = await platform.run(
      ['sync-data', ...(given ? [] : ['--check-results-file', file]), ...args],
      { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nowhere' },
    );
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(readdirSync(folder).filter((name) => name.startsWith('none'))).toEqual([]);
  });

  it('a results file that is a folder', async () => {
    const path = join(folder, 'folder.json');
    mkdirSync(path);
    const { code, stderr } = await platform.run(['sync-data', '--check-results-file', path]);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(/is a directory/) as string });
  });

  it.each([
    ['PostgreSQL', 'DATABASE_URL', 'postgres://u:secret@127.0.0.1:1/db'],
    ['Kafka', 'KAFKA_BROKERS', '127.0.0.1:1'],
    ['Neo4j', 'NEO4J_URI', 'bolt://127.0.0.1:1'],
  ])('%s that is down; a report that was there is kept', async (server, variable, closed) => {
    const path = join(folder, 'kept.json');
    writeFileSync(path, 'kept');
    const before = readdirSync(folder);
    const args = ['--changed-after', '2024-07-01 12:30', '--timezone', 'Europe/Amsterdam'];
    const { code, stdout, stderr } = await platform.run(
      ['sync-data', '--check-results-file', path, '--max-wait', '1', ...args],
      { [variable]: closed, LOG_LEVEL: 'info' },
    );
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    const lines = stderr.trim().split('\n');
    expect(lines).toHaveLength(2);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ changedAfter: '2024-07-01T10:30:00.000Z' });
    expect(lines[1]).toMatch(new RegExp(`^${server}\\b.*${variable}`));
    expect(stderr).not.toContain('secret');
    expect(readFileSync(path, 'utf8')).toBe('kept');
    expect(readdirSync(folder)).toEqual(before);
  });

  it('a second run, naming the first', async () => {
    const { sql } = platform;
    const client = await sql.connect();
    try {
      await client.query(`set application_name = 'the first one'`);
      await client.query(`select pg_advisory_lock(hashtext('graph sync-data'), hashtext($1))`, [
        platform.name,
      ]);
      const { code, stderr } = await syncData(['--dry-run']);
      expect({ code, stderr }).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/Another run is at work: the first one, connected since/) as string,
      });
    } finally {
      client.release(true);
    }
  });

  it.each<[string, string, readonly string[]]>([
    ['project', 'no projector is running', []],
    ['publish', 'no publisher is running', []],
    ['project', 'no projector is running', ['--deep', '--whole-graph', '--dry-run']],
    ['', 'no publisher is running, and no projector is running', []],
  ])('a stream of which %s is stopped: %s %j', async (stopped, said, args) => {
    if (replicator.child.exitCode === null) await replicator.stop();
    await platform.cypher(`MERGE (:${entity} {id: 7})`);
    const other = { project: 'publish', publish: 'project' }[stopped];
    const running = other === undefined ? null : platform.start([other]);
    await running?.logged(/streaming|partitions assigned/);
    const { code, stdout, stderr } = await platform.run(
      ['sync-data', '--check-results-file', join(folder, 'never.json'), '--max-wait', '1', ...args],
      { LOG_LEVEL: 'warn' },
    );
    await running?.stop();
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    // Nothing else: the node whose id is no text was not looked for.
    expect(stderr).toMatch(/^.*\n$/);
    expect(stderr).toContain(`: ${said}. Start graph publish and graph project`);
    expect(readdirSync(folder).filter((name) => name.startsWith('never'))).toEqual([]);
  });
});
