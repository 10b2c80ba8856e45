/**
 * Reliability fault 9: PostgreSQL is not, or no longer, the source that was recorded (I6). Each time the publisher stops
 * within 30 s and says so in one line, and so it does at every further start: what proves the gap is not used up. After
 * `graph recover` the graph equals the source again; of some gaps a soak test alone shows that.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKafka } from '../../src/kafka/client.ts';
import { offsetRanges } from '../../src/kafka/offsets.ts';
import { load } from '../../src/sample/load.ts';
import { hashNeo4j } from '../support/canonical-neo4j.ts';
import { hashPostgres } from '../support/canonical-postgres.ts';
import { compareHashes } from '../support/compare.ts';
import { silent } from '../support/kafka.ts';
import { createPlatform, edit, eventually, type Platform, type Process } from '../support/platform.ts';
import { confirmed, published } from '../support/published.ts';
import {
  type PostgresServer,
  type PostgresServers,
  postgresServers,
  promote,
  slotSynced,
} from '../support/postgres-servers.ts';
import { servers } from '../support/servers.ts';
import { query } from '../support/serving.ts';
import { soak } from '../support/soak.ts';
import { expectStopped } from '../support/stopped.ts';
import { createProxy, type Proxy } from '../support/tcp-proxy.ts';

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

/** Whether the recovery from each gap is shown; else from those alone whose way to it differs most. */
const RECOVERED = soak;

/** Has published what there is; where the recovery is shown, the graph has it too. */
async function atRest(platform: Platform, recovered = RECOVERED): Promise<void> {
  const publisher = await publishing(platform);
  if (recovered) await projected(platform);
  await publisher.stop();
}

async function projected(platform: Platform): Promise<void> {
  const projector = platform.start(['project']);
  await platform.expectEqual();
  await projector.stop();
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

/** More WAL than the slot may keep. */
async function writeSegments(platform: Platform): Promise<void> {
  for (let segment = 0; segment < 4; segment++) {
    await write(platform);
    await platform.sql.query(`select pg_switch_wal()`);
  }
  await platform.sql.query(`checkpoint`);
}

async function walEnd(platform: Platform): Promise<bigint> {
  const { rows } = await platform.sql.query<{ bytes: string }>(
    `select pg_current_wal_lsn() - '0/0'::pg_lsn as bytes`,
  );
  return BigInt(rows[0]?.bytes ?? 0);
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

/** A start leaves to the next, and to `recover`, what it went by. */
const STARTS = soak ? 2 : 1;

async function expectRefused(
  platform: Platform,
  reason: RegExp,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (let start = 0; start < STARTS; start++) await expectStopped(platform.start(['publish'], env), reason);
  const recover = await platform.run(['recover'], env);
  expect(recover).toMatchObject({ code: 2, stdout: expect.stringMatching(reason) as string });
}

/** Some of what the graph has goes, and something comes, before the recovery begins. */
async function expectRecovered(
  platform: Platform,
  { env = {}, sql = platform.sql }: { env?: Readonly<Record<string, string>>; sql?: Platform['sql'] } = {},
): Promise<void> {
  await sql.query(`delete from entity where id in (select id from entity order by id limit 3)`);
  await sql.query(
    `insert into entity select gen_random_uuid(), 'ttp', '{}', '{}', now(), now() from generate_series(1, 3)`,
  );
  const recovering = platform.start(['recover', '--yes'], env);
  await recovering.logged(/a recovery has begun/);
  const replicator = platform.start(['replicate'], env);
  expect(await recovering.exited, recovering.stderr().slice(-3000)).toBe(0);
  const source = await hashPostgres(sql, 'public');
  const graph = await hashNeo4j(platform.driver, platform.names, servers().neo4jDatabase);
  expect(source.lines.length).toBeGreaterThan(0);
  expect(compareHashes(source, graph)).toEqual([]);
  await replicator.stop();
}

async function sourceInGraph(platform: Platform): Promise<unknown> {
  const [row] = await platform.cypher('MATCH (g:_Graph {id: $name}) RETURN g.source AS source', {
    name: platform.name,
  });
  return row?.['source'];
}

describe('the slot', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await cluster.create('slots', { max_slot_wal_keep_size: '32MB' });
  });

  it('is dropped while the publisher is away, and made again by hand', async () => {
    const platform = await platformOn(server.url);
    await atRest(platform);
    await dropSlot(platform);
    await expectRefused(platform, /the slot \w+ no longer exists/);
    await createSlot(platform);
    await expectRefused(platform, /the slot stands at [0-9A-F/]+, ahead of the recorded/);
    if (RECOVERED) await expectRecovered(platform);
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
    if (RECOVERED) await expectRecovered(platform);
  });

  it('is moved on by hand', async () => {
    const platform = await platformOn(server.url);
    await atRest(platform);
    await write(platform);
    await platform.sql.query(`select pg_replication_slot_advance($1, pg_current_wal_lsn())`, [platform.name]);
    await expectRefused(platform, /ahead of the recorded/);
    if (RECOVERED) await expectRecovered(platform);
  });

  it('needs WAL that is gone (max_slot_wal_keep_size)', async () => {
    const platform = await platformOn(server.url);
    await atRest(platform);
    await writeSegments(platform);
    await expectRefused(platform, /the slot was invalidated \(wal_removed\)/);
    if (RECOVERED) await expectRecovered(platform);
  });

  it('needs WAL that is gone, while the publisher is at work', async () => {
    const platform = await platformOn(server.url);
    const publisher = await publishing(platform);
    // What a transaction that is open has written is kept for it, however far the rest is acknowledged.
    const open = await platform.sql.connect();
    await open.query('begin');
    await open.query(`insert into entity values (gen_random_uuid(), 'ttp', '{}', '{}', now(), now())`);
    await writeSegments(platform);
    await expectStopped(publisher, /the slot was invalidated \(wal_removed\)/);
    await open.query('rollback');
    open.release();
  });

  it('was idle for too long (idle_replication_slot_timeout)', async () => {
    const platform = await platformOn(server.url);
    await atRest(platform);
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
    if (RECOVERED) await expectRecovered(platform);
  });

  it('of that name is of another database, or a physical one: nothing goes by it, and it stays', async () => {
    const [theirs, ours] = [await platformOn(server.url), await platformOn(server.url)];
    await (await publishing(theirs)).stop();
    // Loaded: `wait` looks at that first.
    await atRest(ours, true);
    const refused = async (slot: string, whose: RegExp) => {
      edit(join(ours.connectors, 'source.postgres.json'), (json) => {
        json['slot'] = slot;
      });
      for (const args of [['publish'], ['recover', '--yes'], ['wait', '--timeout', '1']]) {
        const { code, stdout, stderr } = await ours.run(args, { LOG_LEVEL: 'silent' });
        expect({ code, stdout, stderr }).toEqual({
          code: 1,
          stdout: '',
          stderr: expect.stringMatching(whose) as string,
        });
      }
    };
    await refused(
      theirs.name,
      /^The slot \w+ is not ours: it is of database \w+ and plugin pgoutput\. Name another slot.*\n$/,
    );
    const physical = `${ours.name}_physical`;
    await server.query(`select pg_create_physical_replication_slot('${physical}')`);
    await refused(physical, /^The slot \w+ is not ours: it is a physical one\. Name another slot.*\n$/);
    await server.query(`select pg_drop_replication_slot('${physical}')`);
    await (await publishing(theirs)).stop();
  });
});

describe('the publication', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await cluster.create('publications');
  });
  const reason = /public\.entity: not published as was recorded/;

  it('is without a table for a while, and the publisher at work', async () => {
    const platform = await platformOn(server.url);
    const publisher = await publishing(platform);
    await platform.sql.query(`alter publication ${platform.name} drop table entity`);
    await write(platform);
    await platform.sql.query(`alter publication ${platform.name} add table entity`);
    await expectStopped(publisher, reason);
    await expectRefused(platform, reason);
    if (RECOVERED) await expectRecovered(platform);
  });

  it('is dropped under the publisher at work', async () => {
    const platform = await platformOn(server.url);
    const publisher = await publishing(platform);
    await platform.sql.query(`drop publication ${platform.name}`);
    await write(platform);
    const gone = /the publication no longer exists/;
    await expectStopped(publisher, gone);
    await expectRefused(platform, gone);
    if (RECOVERED) await expectRecovered(platform);
  });

  it('has left out some operations for a moment, while the publisher was away', async () => {
    const platform = await platformOn(server.url);
    await atRest(platform);
    const publish = (operations: string) =>
      platform.sql.query(`alter publication ${platform.name} set (publish = '${operations}')`);
    await publish('insert, update');
    await platform.sql.query(`delete from entity`);
    await publish('insert, update, delete, truncate');
    await expectRefused(platform, /the publication was altered/);
    if (RECOVERED) await expectRecovered(platform);
  });

  it('has a table whose name another one has taken', async () => {
    const platform = await platformOn(server.url);
    await atRest(platform);
    await platform.sql.query(
      `create table entity_new (like entity including all);
       alter table entity_new replica identity full;
       alter table entity rename to entity_old;
       alter table entity_new rename to entity`,
    );
    await write(platform);
    await expectRefused(platform, reason);
    if (RECOVERED) await expectRecovered(platform);
  });
});

describe('a partition', () => {
  it('that is made without its replica identity is named; what lacks its key in the WAL is never published', async () => {
    const platform = await platformOn(servers().databaseUrl);
    await platform.sql.query(
      `alter table entity rename to entity_rest; alter table entity_rest rename constraint entity_pkey to rest_pkey;
       create table entity (like entity_rest including defaults, primary key (id)) partition by list (id);
       alter table entity attach partition entity_rest default; alter table entity replica identity full`,
    );
    const publisher = await publishing(platform);
    const id = '00000000-0000-0000-0000-000000000001';
    await platform.sql.query(
      `create table entity_one partition of entity for values in ('${id}');
       create unique index one_at on entity_one (last_updated_at)`,
    );
    expect(await publisher.exited).toBe(1);
    expect(publisher.stderr()).toMatch(
      /public\.entity_one: alter table "public"\."entity_one" replica identity full;/,
    );
    await platform.sql.query(`alter table entity_one replica identity full`);
    const again = await publishing(platform);
    await platform.sql.query(`insert into entity values ('${id}', 'ttp', '{}', '{}', now(), now())`);
    if (RECOVERED) await projected(platform);
    await platform.sql.query(
      `begin; alter table entity_one replica identity using index one_at; delete from entity where id = '${id}';
       alter table entity_one replica identity full; commit`,
    );
    const reason = /a change of public\.entity is in the WAL without its key \(id\)/;
    await expectStopped(again, reason);
    await expectRefused(platform, reason);
    if (RECOVERED) await expectRecovered(platform);
  });
});

describe('the server', () => {
  it('is another cluster, without and with such a slot', async () => {
    const other = await cluster.create('other');
    const platform = await platformOn(servers().databaseUrl);
    const twin = await platformOn(other.url);
    for (const { sql } of [platform, twin]) {
      const client = await sql.connect();
      await load(client, { seed: 5, entities: 50 });
      client.release();
    }
    await atRest(platform, true);
    const env = { DATABASE_URL: twin.env['DATABASE_URL'] ?? '' };
    const line = /PostgreSQL has another system identifier/;
    await expectRefused(platform, line, env);
    await query(
      env.DATABASE_URL,
      `select pg_create_logical_replication_slot('${platform.name}', 'pgoutput')`,
    );
    await expectRefused(platform, line, env);
    expect(await sourceInGraph(platform)).toMatch(new RegExp(`/${platform.name}$`));
    await expectRecovered(platform, { env, sql: twin.sql });
    expect(await sourceInGraph(platform)).toMatch(new RegExp(`/${twin.name}$`));
  });

  it('was set back, and had lost a transaction of which only a part was published, and nothing recorded', async () => {
    const { server, platform, publisher } = await savedWhilePublishing('cut');
    if (RECOVERED) await projected(platform);
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
    if (RECOVERED) await expectRecovered(platform);
  });

  it('was set back to an earlier state', async () => {
    const { server, platform, publisher } = await savedWhilePublishing('restored');
    await writeElsewhere(platform, 8_000_000);
    await write(platform);
    await published(platform);
    await projected(platform);
    await publisher.stop();

    const setBack = async (restore = () => cluster.restore(server)) => {
      await server.service.stop('immediate');
      await restore();
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
    await expectRecovered(platform);

    await setBack(() => cluster.restoreToPoint(server));
    await expectRefused(platform, /the timeline changed from 1 to 2 without a synced slot/);
    if (RECOVERED) await expectRecovered(platform);
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
    await atRest(unsynced);
    await atRest(ahead);
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
    if (RECOVERED) for (const platform of [unsynced, ahead]) await expectRecovered(platform);

    // Of this one nothing was lost: beyond the promotion it had only read what was not for it.
    await eventually('streaming again', () =>
      Promise.resolve(publishers.idle.logs.filter(({ msg }) => msg === 'streaming').length === 2),
    );
    expect(await walEnd(idle)).toBeLessThan(end);
    await publishers.idle.kill('SIGKILL');
    await (await publishing(idle)).stop();
  });
});
