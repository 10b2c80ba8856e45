/**
 * Reliability fault 9: PostgreSQL is not, or no longer, the source that was recorded (I6). Each time the publisher stops
 * within 30 s and says so in one line, and so it does at every further start: what proves the gap is not used up.
 */
import { setTimeout as passed } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKafka } from '../../src/kafka/client.ts';
import { offsetRanges } from '../../src/kafka/offsets.ts';
import { silent } from '../support/kafka.ts';
import { createPlatform, eventually, type Platform, type Process } from '../support/platform.ts';
import {
  type PostgresServer,
  type PostgresServers,
  postgresServers,
  promote,
  slotSynced,
} from '../support/postgres-servers.ts';
import { servers } from '../support/servers.ts';
import { query } from '../support/serving.ts';
import { createProxy, type Proxy } from '../support/tcp-proxy.ts';

const STOPS_WITHIN_MS = 30_000;

let cluster: PostgresServers;
const disposals: (() => Promise<void>)[] = [];

beforeAll(async () => {
  cluster = await postgresServers();
});
afterAll(async () => {
  for (const dispose of disposals.reverse()) await dispose();
  await cluster.stop();
});

async function platformOn(databaseUrl: string): Promise<Platform> {
  const platform = await createPlatform('gap', { ...servers(), databaseUrl });
  disposals.push(() => platform.dispose());
  return platform;
}

async function proxyOf(server: PostgresServer): Promise<Proxy> {
  const proxy = await createProxy(server.url);
  disposals.push(() => proxy.close());
  return proxy;
}

/** A publisher that has published what there is. */
async function publishing(platform: Platform): Promise<Process> {
  const publisher = platform.start(['publish']);
  await publisher.logged(/streaming/);
  await write(platform);
  await published(platform);
  return publisher;
}

/** A server of its own, saved while it was at rest, and a publisher at work on it again. */
async function savedWhilePublishing(name: string) {
  const server = await cluster.create(name);
  const platform = await platformOn(server.url);
  await (await publishing(platform)).stop();
  await server.service.stop('fast');
  await cluster.save(server);
  await server.service.start();
  const publisher = platform.start(['publish']);
  await publisher.logged(/streaming/);
  return { server, platform, publisher };
}

const write = (platform: Platform, rows = 1) =>
  // A transaction for each.
  platform.sql.query(
    `do $$ begin for n in 1..${rows} loop
       insert into entity values (gen_random_uuid(), 'ttp', '{}', '{}', now(), now()); commit;
     end loop; end $$`,
  );

/** WAL that holds nothing for us. */
const writeElsewhere = (platform: Platform, bytes: number) =>
  platform.sql.query(`insert into blob (content) select string_agg(sha512(n::text::bytea), null)
    from generate_series(1, ${Math.ceil(bytes / 64)}) n`);

async function walEnd(platform: Platform): Promise<bigint> {
  const { rows } = await platform.sql.query<{ bytes: string }>(
    `select pg_current_wal_lsn() - '0/0'::pg_lsn as bytes`,
  );
  return BigInt(rows[0]?.bytes ?? 0);
}

async function confirmed(platform: Platform): Promise<bigint> {
  const { rows } = await platform.sql.query<{ bytes: string }>(
    `select confirmed_flush_lsn - '0/0'::pg_lsn as bytes from pg_replication_slots where slot_name = $1`,
    [platform.name],
  );
  return BigInt(rows[0]?.bytes ?? 0);
}

async function published(platform: Platform): Promise<void> {
  const { rows } = await platform.sql.query<{ bytes: string }>(
    `select pg_logical_emit_message(true, 'test', '') - '0/0'::pg_lsn as bytes`,
  );
  const end = BigInt(rows[0]?.bytes ?? 0);
  await eventually('everything is published', async () => (await confirmed(platform)) >= end);
}

/** In the topic of entities. */
async function recordsOf(platform: Platform): Promise<bigint> {
  const kafka = createKafka({ brokers: servers().kafkaBrokers.split(','), clientId: 'test' }, silent);
  const topic = `${platform.name}.public.entity`;
  const connection = await kafka.connect({ topics: [topic] });
  try {
    return (await offsetRanges(connection.cluster, [topic])).reduce((sum, { end }) => sum + end, 0n);
  } finally {
    await connection.close();
  }
}

const dropSlot = (platform: Platform) =>
  platform.sql.query(`select pg_drop_replication_slot($1)`, [platform.name]);
const createSlot = (platform: Platform) =>
  platform.sql.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [platform.name]);

async function expectStopped(publisher: Process, reason: RegExp): Promise<void> {
  const ended = await Promise.race([publisher.exited, passed(STOPS_WITHIN_MS, 'it runs on')]);
  expect(ended, publisher.stderr().slice(-2000)).toBe(1);
  const plain = publisher
    .stderr()
    .split('\n')
    .filter((text) => text !== '' && !text.startsWith('{'));
  expect(plain).toEqual([
    expect.stringMatching(/^The source is not the one that was recorded: .* graph recover/),
  ]);
  expect(plain[0]).toMatch(reason);
}

/** Twice: the first start must leave to the second what it went by. And `recover` knows it, too. */
async function expectRefused(
  platform: Platform,
  reason: RegExp,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (let start = 0; start < 2; start++) await expectStopped(platform.start(['publish'], env), reason);
  const recover = await platform.run(['recover'], env);
  expect(recover).toMatchObject({ code: 2, stdout: expect.stringMatching(reason) as string });
}

describe('the slot', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await cluster.create('slots', { max_slot_wal_keep_size: '32MB' });
  });

  it('is dropped while the publisher is away, and made again by hand', async () => {
    const platform = await platformOn(server.url);
    await (await publishing(platform)).stop();
    await dropSlot(platform);
    await expectRefused(platform, /the slot \w+ no longer exists/);
    await createSlot(platform);
    await expectRefused(platform, /the slot stands at [0-9A-F/]+, ahead of the recorded/);
  });

  it('is made again by hand while the publisher is at work', async () => {
    const platform = await platformOn(server.url);
    const publisher = await publishing(platform);
    await platform.sql.query(
      `do $$ begin
         perform pg_terminate_backend(active_pid, 5000) from pg_replication_slots where slot_name = '${platform.name}';
         perform pg_drop_replication_slot('${platform.name}');
       end $$`,
    );
    await createSlot(platform);
    await expectStopped(publisher, /no longer exists|ahead of the recorded/);
    await expectRefused(platform, /ahead of the recorded/);
  });

  it('is moved on by hand', async () => {
    const platform = await platformOn(server.url);
    await (await publishing(platform)).stop();
    await write(platform);
    await platform.sql.query(`select pg_replication_slot_advance($1, pg_current_wal_lsn())`, [platform.name]);
    await expectRefused(platform, /ahead of the recorded/);
  });

  it('needs WAL that is gone (max_slot_wal_keep_size)', async () => {
    const platform = await platformOn(server.url);
    await (await publishing(platform)).stop();
    for (let segment = 0; segment < 4; segment++) {
      await write(platform);
      await server.query(`select pg_switch_wal()`);
    }
    await server.query(`checkpoint`);
    await expectRefused(platform, /the slot was invalidated \(wal_removed\)/);
  });

  it('was idle for too long (idle_replication_slot_timeout)', async () => {
    const platform = await platformOn(server.url);
    await (await publishing(platform)).stop();
    await server.query(`alter system set idle_replication_slot_timeout = '1s'`);
    await server.query(`select pg_reload_conf()`);
    await eventually('the slot is invalidated', async () => {
      await server.query(`checkpoint`);
      const [slot] = await server.query(
        `select invalidation_reason from pg_replication_slots where slot_name = '${platform.name}'`,
      );
      return slot?.['invalidation_reason'] === 'idle_timeout';
    });
    await server.query(`alter system reset idle_replication_slot_timeout`);
    await server.query(`select pg_reload_conf()`);
    await expectRefused(platform, /the slot was invalidated \(idle_timeout\)/);
  });
});

describe('the server', () => {
  it('is another cluster, without and with such a slot', async () => {
    const other = await cluster.create('other');
    const platform = await platformOn(servers().databaseUrl);
    await (await publishing(platform)).stop();
    const twin = await platformOn(other.url);
    const env = { DATABASE_URL: twin.env['DATABASE_URL'] ?? '' };
    const line = /PostgreSQL has another system identifier/;
    await expectRefused(platform, line, env);
    await query(
      env.DATABASE_URL,
      `select pg_create_logical_replication_slot('${platform.name}', 'pgoutput')`,
    );
    await expectRefused(platform, line, env);
  });

  it('was set back, and had lost a transaction of which only a part was published, and nothing recorded', async () => {
    const { server, platform, publisher } = await savedWhilePublishing('cut');
    const before = await recordsOf(platform);
    await platform.sql.query(
      `insert into entity select gen_random_uuid(), 'ttp', '{}', '{}', now(), now() from generate_series(1, 100000)`,
    );
    await eventually('a part of it is published', async () => (await recordsOf(platform)) > before);
    expect(await publisher.kill('SIGKILL')).toBe('SIGKILL');
    expect(await recordsOf(platform)).toBeLessThan(before + 100_000n);
    const end = await walEnd(platform);

    await server.service.stop('immediate');
    await cluster.restore(server);
    await server.service.start();
    await write(platform, 100);
    while ((await walEnd(platform)) <= end) await writeElsewhere(platform, 16_000_000);
    await expectRefused(platform, /last published transaction, .* is not in the WAL that the slot replays/);
  });

  it('was set back to an earlier state', async () => {
    const { server, platform, publisher } = await savedWhilePublishing('restored');
    await writeElsewhere(platform, 8_000_000);
    await write(platform);
    await published(platform);
    await publisher.stop();

    const setBack = async () => {
      await server.service.stop('immediate');
      await cluster.restore(server);
      await server.service.start();
    };
    await setBack();
    await expectRefused(platform, /the WAL ends at [0-9A-F/]+, before the recorded/);
    // Beyond what is recorded, with nothing for us.
    await writeElsewhere(platform, 24_000_000);
    await expectRefused(platform, /last published transaction, .* is not in the WAL that the slot replays/);
    // With other transactions in its place: before, at and after.
    await setBack();
    await write(platform, 3000);
    await writeElsewhere(platform, 24_000_000);
    await write(platform);
    await expectRefused(platform, /last published transaction, .* is not in the WAL that the slot replays/);
  });
});

describe('a standby is promoted', () => {
  it('without a synchronised slot; or without transactions that were published: not if it only lacks others', async () => {
    const primary = await cluster.create('primary');
    const address = await proxyOf(primary);
    const [unsynced, ahead, idle] = [
      await platformOn(address.url),
      await platformOn(address.url),
      await platformOn(address.url),
    ];
    await (await publishing(unsynced)).stop();
    await (await publishing(ahead)).stop();
    const standby = await cluster.createStandby('standby', primary);
    await query(
      `${primary.url}?replication=database`,
      `ALTER_REPLICATION_SLOT ${unsynced.name} (FAILOVER false)`,
    );
    const publishers = {
      unsynced: await publishing(unsynced),
      ahead: await publishing(ahead),
      idle: await publishing(idle),
    };
    for (const { name } of [ahead, idle]) await slotSynced(primary, standby, name);
    await standby.service.stop('fast');
    // As where synchronized_standby_slots was forgotten.
    await primary.query(`alter system set synchronized_standby_slots = ''`);
    await primary.query(`select pg_reload_conf()`);
    await write(ahead);
    await published(ahead);
    await writeElsewhere(idle, 8_000_000);
    const end = await walEnd(idle);
    await eventually('an idle position is acknowledged', async () => (await confirmed(idle)) >= end);
    await primary.service.stop('kill');
    await standby.service.start();
    await promote(standby);
    address.leadTo(standby.url);
    address.reset();
    await expectStopped(publishers.unsynced, /the slot \w+ no longer exists/);
    const line = /timeline 2 left timeline 1 at [0-9A-F/]+, before the last published transaction/;
    await expectStopped(publishers.ahead, line);
    await expectRefused(ahead, line);
    await createSlot(unsynced);
    await expectRefused(unsynced, /the timeline changed from 1 to 2 without a synced slot/);

    // Of this one nothing was lost: beyond the promotion it had only read what was not for it.
    await eventually('streaming again', () =>
      Promise.resolve(publishers.idle.logs.filter(({ msg }) => msg === 'streaming').length === 2),
    );
    expect(await walEnd(idle)).toBeLessThan(end);
    await publishers.idle.kill('SIGKILL');
    await (await publishing(idle)).stop();
  });
});
