/**
 * Reliability fault 8: a primary dies, and a standby with a synchronised slot takes its place, behind the same address.
 * Replication to the standby is asynchronous: what the primary acknowledged may be gone with it. The truth is then what
 * the standby has, and the graph must never have had more.
 */
import { setTimeout as passed } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  CHANGES_PER_SECOND,
  createPlatform,
  eventually,
  type Platform,
  type Process,
  underLoad,
} from '../support/platform.ts';
import {
  type PostgresServer,
  type PostgresServers,
  postgresServers,
  promote,
  slotSynced,
} from '../support/postgres-servers.ts';
import { servers } from '../support/servers.ts';
import { createProxy, type Proxy } from '../support/tcp-proxy.ts';

let cluster: PostgresServers;
let primary: PostgresServer;
let standby: PostgresServer;
let address: Proxy;
let platform: Platform;
let replicator: Process;

beforeAll(async () => {
  cluster = await postgresServers();
  primary = await cluster.create('first');
  address = await createProxy(primary.url);
  platform = await createPlatform('failover', { ...servers(), databaseUrl: address.url });
  replicator = platform.start(['replicate']);
  await replicator.logged(/streaming/);
});
afterAll(async () => {
  await platform.dispose();
  await address.close();
  await cluster.stop();
});

const streamed = () => replicator.logs.filter(({ msg }) => msg === 'streaming');
const refused = () => replicator.logs.filter(({ msg }) => /refused|dead letter/.test(String(msg)));
const uuid = (n: number) => `0f000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;

const write = (n: number) =>
  platform.sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at) values ($1, 'ttp', '{}', now(), now())`,
    [uuid(n)],
  );
const inSource = async (n: number) =>
  (await platform.sql.query(`select from entity where id = $1`, [uuid(n)])).rowCount === 1;
const inGraph = async (n: number) =>
  (await platform.cypher(`MATCH (n:${platform.names.labels.entity} {id: $id}) RETURN n`, { id: uuid(n) }))
    .length === 1;

const SAID_OF_STANDBY = /^This is a standby\. Name the primary in DATABASE_URL\..*\n$/;
const untilItBreaks = () => new Promise<never>(() => undefined);

/** The publisher's walsender has read a change that the standby does not have. */
const heldBack = () =>
  eventually('the stream waits for the standby', async () => {
    const rows = await primary.query(
      `select from pg_stat_activity join pg_replication_slots on active_pid = pid
        where slot_name = '${platform.name}' and wait_event = 'WaitForStandbyConfirmation'`,
    );
    return rows.length === 1;
  });

/** Kills the primary; its place is the standby's. */
async function failOver(meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<void> {
  const before = streamed().length;
  await primary.service.stop('kill');
  await meanwhile();
  await promote(standby);
  address.leadTo(standby.url);
  address.reset();
  primary = standby;
  await eventually(
    'streaming from the new primary',
    () => Promise.resolve(streamed().length > before),
    60_000,
  );
}

async function addStandby(name: string): Promise<void> {
  standby = await cluster.createStandby(name, primary);
  await slotSynced(primary, standby, platform.name);
}

describe('the primary has no standby', () => {
  it('the slot is one for failover, and holds up nothing', async () => {
    const [slot] = await primary.query(
      `select failover, synced from pg_replication_slots where slot_name = '${platform.name}'`,
    );
    expect(slot).toEqual({ failover: true, synced: false });
    await write(1);
    await platform.expectEqual();
  });
});

describe('the standby of a primary at work', () => {
  it('is waited for: what it does not have is not in the graph', async () => {
    await addStandby('second');
    await platform.expectEqual();
    const behind = new URL(standby.url);
    behind.pathname = platform.name;
    const there = (args: readonly string[]) =>
      platform.run(args, { DATABASE_URL: behind.href, LOG_LEVEL: 'warn' });
    const checking = ['sync-data', '--check-results-file', 'dist/never.json'];
    for (const args of [
      [...checking, '--direct'],
      [...checking, '--dry-run'],
      [...checking, '--dry-run', '--whole-graph', '--deep'],
      ['wait'],
      ['backfill'],
      ['recover', '--yes'],
    ])
      expect({ args, ...(await there(args)) }).toEqual({
        args,
        code: 1,
        stdout: '',
        stderr: expect.stringMatching(SAID_OF_STANDBY) as string,
      });
    const status = await there(['status']);
    expect(status).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^gaps +unknown: This is a standby\. /m) as string,
    });
    expect(status.stdout).not.toMatch(/MISSING|recover/);
    await standby.service.stop('fast');
    await write(2);
    await heldBack();
    expect([await inSource(2), await inGraph(2)]).toEqual([true, false]);
    await standby.service.start();
    await platform.expectEqual();
    expect(await inGraph(2)).toBe(true);
  });

  it('takes over when the primary is killed under load: nothing lost', async () => {
    await slotSynced(primary, standby, platform.name);
    const broken = expect(underLoad(platform, untilItBreaks)).rejects.toThrow();
    await eventually('changes are in the graph', async () => {
      const [row] = await platform.cypher(
        `MATCH (n:${platform.names.labels.entity}) RETURN count(n) AS entities`,
      );
      return Number(row?.['entities']) > 50;
    });
    await failOver();
    await broken;
    const { changes } = await underLoad(platform, () => passed(2000).then(() => undefined));
    expect(changes).toBeGreaterThan(CHANGES_PER_SECOND);
    await platform.expectEqual();
  });

  it('takes over without the last commits that the primary acknowledged: the graph never has them', async () => {
    await addStandby('third');
    await write(3);
    await platform.expectEqual();
    await standby.service.stop('fast');
    await write(4);
    await heldBack();
    expect([await inSource(4), await inGraph(4)]).toEqual([true, false]);
    await failOver(() => standby.service.start());
    expect([await inSource(3), await inSource(4)]).toEqual([true, false]);
    await write(5);
    await platform.expectEqual();
    expect([await inGraph(3), await inGraph(4), await inGraph(5)]).toEqual([true, false, true]);
  });
});

it('all of it in the process that ran throughout, in one epoch, with nothing refused', async () => {
  expect(new Set(streamed().map(({ epoch }) => epoch)).size).toBe(1);
  expect(refused()).toEqual([]);
  await replicator.stop();
});
