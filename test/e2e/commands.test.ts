/** What each command says and does when something is wrong: one clear line, the exit code, and no secret. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPlatform, type Platform, startProcess } from '../support/platform.ts';

const CANARY = 'c4n4ry-p4ssw0rd';
const EVERY = ['publish', 'project', 'replicate', 'wait', 'status'] as const;

let platform: Platform;
beforeAll(async () => {
  platform = await createPlatform('commands');
});
afterAll(() => platform.dispose());

async function run(args: readonly string[], env: Readonly<Record<string, string>>) {
  const started = startProcess(args, env);
  const code = await started.exited;
  return { code, stdout: started.stdout(), stderr: started.stderr() };
}

const withPassword = (url: string) => {
  const changed = new URL(url);
  changed.password = CANARY;
  return changed.href;
};

describe('bad usage exits 2 with a line on stderr and nothing on stdout', () => {
  it.each([
    [['graph', 'wait', '--timeout', 'soon']],
    [['graph', 'wait', '--timeout', '-1']],
    [['graph', 'wait', '--timeout', '0']],
    [['graph', 'status', '--yaml']],
    [['graph', 'project', '--no-initial-load']],
    [['graph', 'backfill', '--timeout', '0']],
    [['graph', 'backfill', '--timezone', 'Mars/Olympus']],
    [['graph', 'replay', '--timezone', 'Mars/Olympus']],
    [['graph', 'dead-letters', 'discard']],
    [['graph', 'replay', '--max-wait', '0']],
    [['graph', 'replay', '--resume']],
    [['graph', 'rebuild']],
    [['graph', 'rebuild', '--in-place', '--into', 'bolt://127.0.0.1:1']],
    [['graph', 'rebuild', '--into', 'http://127.0.0.1:1']],
    [['graph', 'rebuild', '--into', 'bolt://neo4j:secret@127.0.0.1:1']],
    [['graph', 'rebuild', '--into', 'bolt://127.0.0.1:1/a/b']],
    [['graph', 'rebuild', '--into', 'bolt://127.0.0.1:1', '--yes']],
    [['graph', 'rebuild', '--in-place', '--max-wait', '0']],
    [['graph', 'unknown']],
    [['graph', 'publish', '--no-initial-loads']],
    [['graph', 'replicate', 'now']],
    [['graph', 'recover', '--replaces']],
    [['graph', 'dead-letters', 'list', '--jsno']],
    [['graph', 'dead-letters', 'redrive', '--id']],
    [['graph', 'sync-data', '--dry-run']],
    [['demo', '--entities', '1.5']],
    [['stack', 'now']],
  ])('%j', async (args) => {
    const { code, stdout, stderr } = await run(args, {});
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^.+\n$/);
  });
});

describe('with GRAPH_ENABLED=false', () => {
  it.each(['publish', 'project', 'replicate'])('%s says so and exits 0', async (command) => {
    const { code, stderr } = await run(['graph', command], { GRAPH_ENABLED: 'false' });
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/switched off/) as string });
  });
  it.each([
    'wait',
    'status',
    'rebuild --in-place',
    'recover',
    'replay',
    'backfill',
    'dead-letters list',
    'dead-letters redrive',
    'dead-letters discard --id x',
    'sync-data --check-results-file dist/never.json',
  ])('%s says so and exits 1', async (command) => {
    const { code, stderr } = await run(['graph', ...command.split(' ')], { GRAPH_ENABLED: 'false' });
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/switched off/) as string });
  });
});

describe('a setting that is missing or wrong', () => {
  it.each(EVERY)('stops %s before anything is touched', async (command) => {
    const { code, stderr } = await run(['graph', command], { LOG_LEVEL: 'info' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^DATABASE_URL and KAFKA_BROKERS.* must be set\..*\n$/);
  });
  it('is named, not shown', async () => {
    const { code, stderr } = await run(['graph', 'status'], {
      ...platform.env,
      LOG_LEVEL: CANARY,
      NEO4J_URI: CANARY,
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/LOG_LEVEL must be one of .*/);
    expect(stderr).toMatch(/NEO4J_URI must be a URI/);
    expect(stderr).not.toContain(CANARY);
  });
});

describe('a server that cannot be used ends a service with one line, and no secret', () => {
  const closed = '127.0.0.1:1';
  it.each<[string, (env: Readonly<Record<string, string>>) => Record<string, string>, RegExp]>([
    [
      'PostgreSQL is down',
      (env) => ({ ...env, DATABASE_URL: `postgres://u:${CANARY}@${closed}/db` }),
      /PostgreSQL .*127\.0\.0\.1:1/,
    ],
    [
      'the PostgreSQL password is wrong',
      (env) => ({ ...env, DATABASE_URL: withPassword(env['DATABASE_URL'] ?? '') }),
      /password/,
    ],
    ['Kafka is down', (env) => ({ ...env, KAFKA_BROKERS: closed }), /Kafka/],
    ['Neo4j is down', (env) => ({ ...env, NEO4J_URI: `bolt://${closed}`, NEO4J_PASSWORD: CANARY }), /Neo4j/],
    ['the Neo4j password is wrong', (env) => ({ ...env, NEO4J_PASSWORD: CANARY }), /NEO4J_PASSWORD/],
  ])('%s', async (_, change, message) => {
    const { code, stdout, stderr } = await run(['graph', 'replicate'], {
      ...change(platform.env),
      LOG_LEVEL: 'info',
    });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    const lines = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(message);
    expect(stderr).not.toContain(CANARY);
  });
});

describe('a database that does not fit', () => {
  it('is described with every problem and the statement that mends each', async () => {
    await platform.sql.query(`alter table relation replica identity default`);
    await platform.sql.query(`alter table extract drop column kind`);
    await platform.sql.query(`drop table entity_extract`);
    const { code, stderr } = await platform.run(['publish']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/alter table .*relation.* replica identity full;/);
    expect(stderr).toMatch(/extract.*kind/);
    expect(stderr).toMatch(/entity_extract/);
    const slots = await platform.sql.query(`select 1 from pg_replication_slots where slot_name = $1`, [
      platform.name,
    ]);
    expect(slots.rows).toEqual([]);
  });

  it('or a user without rights, is named with the statement that mends it', async () => {
    const url = new URL(platform.env['DATABASE_URL'] ?? '');
    await platform.sql.query(`create role ${platform.name} login password '${CANARY}'`);
    url.username = platform.name;
    url.password = CANARY;
    const { code, stderr } = await platform.run(['publish'], { DATABASE_URL: url.href });
    await platform.sql.query(`drop role ${platform.name}`);
    expect(code).toBe(1);
    expect(stderr).toMatch(/alter role .* replication;/);
    expect(stderr).not.toContain(CANARY);
  });
});

describe('--help', () => {
  it('answers within 150 ms of CPU', async () => {
    const report = `process.on("exit",()=>{const{user,system}=process.cpuUsage();console.error((user+system)/1000)})`;
    const millis: number[] = [];
    for (let run = 0; run < 7; run++) {
      const started = startProcess(['graph', '--help'], {
        NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(report)}`,
      });
      expect(await started.exited).toBe(0);
      expect(started.stdout()).toMatch(/replicate/);
      millis.push(Number(started.stderr()));
    }
    const median = millis.sort((a, b) => a - b)[3];
    expect(median).toBeGreaterThan(1);
    expect(median).toBeLessThan(150);
  });
});
