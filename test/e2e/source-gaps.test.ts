/**
 * Reliability fault 9: PostgreSQL is not, or no longer, the source that was recorded (I6). Each time the publisher stops
 * within 30 s and says so in one line, and so it does at every further start: what proves the gap is not used up. After
 * `graph recover` the graph equals the source again; of some gaps a soak test alone shows that.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { edit, eventually, type Platform } from '../support/platform.ts';
import type { PostgresServer } from '../support/postgres-servers.ts';
import { servers } from '../support/servers.ts';
import {
  atRest,
  createSlot,
  createSources,
  expectRecovered,
  expectRefused,
  projected,
  publishing,
  RECOVERED,
  type Sources,
  write,
} from '../support/source-gaps.ts';
import { expectStopped } from '../support/stopped.ts';

let sources: Sources;

beforeAll(async () => {
  sources = await createSources();
});
afterAll(() => sources.dispose());

const dropSlot = (platform: Platform) =>
  platform.sql.query(`select pg_drop_replication_slot($1)`, [platform.name]);

/** More WAL than the slot may keep. */
async function writeSegments(platform: Platform): Promise<void> {
  for (let segment = 0; segment < 4; segment++) {
    await write(platform);
    await platform.sql.query(`select pg_switch_wal()`);
  }
  await platform.sql.query(`checkpoint`);
}

describe('the slot', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await sources.cluster.create('slots', { max_slot_wal_keep_size: '32MB' });
  });

  it('is dropped while the publisher is away, and made again by hand', async () => {
    const platform = await sources.platformOn(server.url);
    await atRest(platform);
    await dropSlot(platform);
    await expectRefused(platform, /the slot \w+ no longer exists/);
    await createSlot(platform);
    await expectRefused(platform, /the slot stands at [0-9A-F/]+, ahead of the recorded/);
    if (RECOVERED) await expectRecovered(platform);
  });

  it('is made again by hand while the publisher is at work', async () => {
    const platform = await sources.platformOn(server.url);
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
    const platform = await sources.platformOn(server.url);
    await atRest(platform);
    await write(platform);
    await platform.sql.query(`select pg_replication_slot_advance($1, pg_current_wal_lsn())`, [platform.name]);
    await expectRefused(platform, /ahead of the recorded/);
    if (RECOVERED) await expectRecovered(platform);
  });

  it('needs WAL that is gone (max_slot_wal_keep_size)', async () => {
    const platform = await sources.platformOn(server.url);
    await atRest(platform);
    await writeSegments(platform);
    await expectRefused(platform, /the slot was invalidated \(wal_removed\)/);
    if (RECOVERED) await expectRecovered(platform);
  });

  it('needs WAL that is gone, while the publisher is at work', async () => {
    const platform = await sources.platformOn(server.url);
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
    const platform = await sources.platformOn(server.url);
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
    const [theirs, ours] = [await sources.platformOn(server.url), await sources.platformOn(server.url)];
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
    server = await sources.cluster.create('publications');
  });
  const reason = /public\.entity: not published as was recorded/;

  it('is without a table for a while, and the publisher at work', async () => {
    const platform = await sources.platformOn(server.url);
    const publisher = await publishing(platform);
    await platform.sql.query(`alter publication ${platform.name} drop table entity`);
    await write(platform);
    await platform.sql.query(`alter publication ${platform.name} add table entity`);
    await expectStopped(publisher, reason);
    await expectRefused(platform, reason);
    if (RECOVERED) await expectRecovered(platform);
  });

  it('is dropped under the publisher at work', async () => {
    const platform = await sources.platformOn(server.url);
    const publisher = await publishing(platform);
    await platform.sql.query(`drop publication ${platform.name}`);
    await write(platform);
    const gone = /the publication no longer exists/;
    await expectStopped(publisher, gone);
    await expectRefused(platform, gone);
    if (RECOVERED) await expectRecovered(platform);
  });

  it('has left out some operations for a moment, while the publisher was away', async () => {
    const platform = await sources.platformOn(server.url);
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
    const platform = await sources.platformOn(server.url);
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
    const platform = await sources.platformOn(servers().databaseUrl);
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
