/**
 * Transactions that are committed, and published, before any reader sees them (I4): they wait for a synchronous standby
 * that does not answer. A PostgreSQL of its own, since the whole server is set so.
 */
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, it } from 'vitest';
import { createPlatform, eventually, type Platform, type Process } from '../support/platform.ts';
import { type PostgresServer, postgresServers, type PostgresServers } from '../support/postgres-servers.ts';
import { servers } from '../support/servers.ts';

let cluster: PostgresServers;
let postgres: PostgresServer;
let platform: Platform;
let publisher: Process;

beforeAll(async () => {
  cluster = await postgresServers();
  postgres = await cluster.create('primary');
});
afterAll(() => cluster.stop());

beforeEach(async () => {
  platform = await createPlatform('invisible', { ...servers(), databaseUrl: postgres.url });
  await platform.start(['project']).logged(/./);
  publisher = platform.start(['publish']);
  await publisher.logged(/streaming/);
  await platform.sql.query(
    `insert into entity select ('0a000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'report', '{"title": "old"}',
            '{}', now(), now() from generate_series(1, 3) i`,
  );
  await platform.expectEqual();
});
afterEach(async () => {
  await standbys('');
  await platform.dispose();
});

const uuid = (n: number) => `0a000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
const request = (n: number) =>
  `select set_config('synchronous_commit', 'local', true), pg_logical_emit_message(true, 'graph.republish',
     '{"v": 1, "table": "public.entity", "keys": [["${uuid(n)}"]], "runId": "r", "reason": "test"}'::text)`;
const change = (n: number, title: string) =>
  `update entity set data = '{"title": "${title}"}', last_updated_at = now() where id = '${uuid(n)}'`;

/** In force once commits wait: PostgreSQL's own processes take a new setting up one by one. */
async function standbys(names: string): Promise<void> {
  await platform.sql.query(`alter system set synchronous_standby_names = '${names}'`);
  await platform.sql.query('select pg_reload_conf()');
  const inForce = names === '' ? commitsReturn : commitsWait;
  await eventually('the setting is in force', inForce);
}

async function commitsReturn(): Promise<boolean> {
  return (await waiting()).length === 0;
}

async function commitsWait(): Promise<boolean> {
  let returned = false;
  const probe = platform.sql
    .query(`select pg_logical_emit_message(true, 'test.probe', '')`)
    .then(() => (returned = true));
  let pids: number[] = [];
  await eventually('the probe returns or waits', async () => {
    pids = await waiting();
    return returned || pids.length > 0;
  });
  for (const pid of pids) await platform.sql.query('select pg_cancel_backend($1)', [pid]);
  await probe;
  return pids.length > 0;
}

/** Backends whose commit waits for a standby. */
async function waiting(): Promise<number[]> {
  const { rows } = await platform.sql.query<{ pid: number }>(
    `select pid from pg_stat_activity where wait_event = 'SyncRep'`,
  );
  return rows.map(({ pid }) => pid);
}

async function title(n: number): Promise<unknown> {
  const { entity } = platform.names.labels;
  const [row] = await platform.cypher(`MATCH (n:${entity} {id: $id}) RETURN n.title AS title`, {
    id: uuid(n),
  });
  return row?.['title'];
}

const arrives = (n: number, expected: string) =>
  eventually(`entity ${n} is ${expected}`, async () => (await title(n)) === expected);

/** Resolves when it may; what it changes can be decoded now, and seen by nobody. */
async function hanging(sql: string): Promise<{ done: Promise<unknown> }> {
  const done = platform.sql.query(sql);
  await eventually('the commit waits', async () => (await waiting()).length > 0);
  return { done };
}

const postponed = (by: Process) => by.logs.filter((line) => /has to wait/.test(String(line['msg']))).length;
/** Of our own requests, not of the initial load. */
const answered = (by: Process) =>
  by.logs.filter((line) => line['msg'] === 'republished' && line['runId'] === 'r').length;

/** Asked again several times, while other changes stream by: the request is never answered with what is old. */
async function staysNew(by: Process, n: number): Promise<void> {
  const before = postponed(by);
  for (let times = 1; times <= 2; times++) {
    await eventually('asked again', () => Promise.resolve(postponed(by) >= before + times));
    const startedAt = performance.now();
    await platform.sql.query(
      `begin; set local synchronous_commit = local; ${change(3, `other ${times}`)}; commit`,
    );
    await arrives(3, `other ${times}`);
    expect(performance.now() - startedAt).toBeLessThan(2000);
    expect(await title(n)).toBe('new');
  }
  expect(answered(by)).toBe(0);
}

async function heals(by: Process, n: number, { done }: { done: Promise<unknown> }): Promise<void> {
  await standbys('');
  await done;
  await eventually('the request is answered', () => Promise.resolve(answered(by) > 0));
  await platform.expectEqual();
  expect(await title(n)).toBe('new');
}

describe('what nobody sees yet', () => {
  it('is not undone by a request in the same transaction, and holds up nothing', async () => {
    await standbys('silent');
    const hung = await hanging(
      `begin; ${change(1, 'new')}; ${request(1).replace("'local'", "'on'")}; commit`,
    );
    await arrives(1, 'new');
    await staysNew(publisher, 1);
    await heals(publisher, 1, hung);
  });

  it('is not undone by a later request', async () => {
    await standbys('silent');
    const hung = await hanging(change(1, 'new'));
    await arrives(1, 'new');
    await platform.sql.query(request(1));
    await staysNew(publisher, 1);
    await publisher.stop();
    const next = platform.start(['publish']);
    await next.logged(/streaming/);
    await heals(next, 1, hung);
  });

  it('is not undone after a restart that does not receive it again; nor is the request forgotten', async () => {
    await standbys('silent');
    const hung = await hanging(change(1, 'new'));
    await arrives(1, 'new');
    expect(await platform.run(['wait'])).toMatchObject({ code: 0 });
    await platform.sql.query(request(1));
    await publisher.logged(/has to wait/);
    await platform.sql.query(`begin; set local synchronous_commit = local; ${change(3, 'behind')}; commit`);
    await arrives(3, 'behind');
    await publisher.kill('SIGKILL');
    const next = platform.start(['publish']);
    await next.logged(/streaming/);
    await staysNew(next, 1);
    await heals(next, 1, hung);
  });
});

it('a publisher that would be a synchronous standby itself does not start', async () => {
  await publisher.stop();
  await standbys('*');
  const refused = platform.start(['publish']);
  expect(await refused.exited).toBe(1);
  expect(refused.stderr()).toMatch(/synchronous standby.*synchronous_standby_names/);
  await standbys('silent');
  const started = platform.start(['publish']);
  await started.logged(/streaming/);
  await started.stop();
});
