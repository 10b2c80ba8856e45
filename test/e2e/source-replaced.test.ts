/**
 * Reliability fault 9, of whole servers: another cluster, one that was set back, a standby that was promoted (I6). The
 * publisher stops and says so, or goes on where nothing is lost; after `graph recover` the graph equals the source again.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fill } from '../support/fill.ts';
import { eventually, type Platform } from '../support/platform.ts';
import { promote, slotSynced } from '../support/postgres-servers.ts';
import { confirmed, published } from '../support/published.ts';
import { recordsOf } from '../support/rebuilds.ts';
import { servers } from '../support/servers.ts';
import { query } from '../support/serving.ts';
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

/** A server of its own, saved while it was at rest, and a publisher at work on it again. */
async function savedWhilePublishing(name: string) {
  const server = await sources.cluster.create(name);
  const platform = await sources.platformOn(server.url);
  await (await publishing(platform)).stop();
  await server.service.stop('fast');
  await sources.cluster.save(server);
  await server.service.start();
  const publisher = platform.start(['publish']);
  await publisher.logged(/streaming/);
  return { server, platform, publisher };
}

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

const entitiesPublished = (platform: Platform) => recordsOf(platform, [`${platform.name}.public.entity`]);

async function sourceInGraph(platform: Platform): Promise<unknown> {
  const [row] = await platform.cypher('MATCH (g:_Graph {id: $name}) RETURN g.source AS source', {
    name: platform.name,
  });
  return row?.['source'];
}

describe('the server', () => {
  it('is another cluster, without and with such a slot', async () => {
    const other = await sources.cluster.create('other');
    const platform = await sources.platformOn(servers().databaseUrl);
    const twin = await sources.platformOn(other.url);
    for (const { sql } of [platform, twin]) await fill(sql, { seed: 5, entities: 50 });
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
    const before = await entitiesPublished(platform);
    await platform.sql.query(
      `insert into entity select gen_random_uuid(), 'ttp', '{}', '{}', now(), now() from generate_series(1, 100000)`,
    );
    await eventually('a part of it is published', async () => (await entitiesPublished(platform)) > before);
    expect(await publisher.kill('SIGKILL')).toBe('SIGKILL');
    expect(await entitiesPublished(platform)).toBeLessThan(before + 100_000);
    const end = await walEnd(platform);

    await server.service.stop('immediate');
    await sources.cluster.restore(server);
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

    const setBack = async (restore = () => sources.cluster.restore(server)) => {
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

    await setBack(() => sources.cluster.restoreToPoint(server));
    await expectRefused(platform, /the timeline changed from 1 to 2 without a synced slot/);
    if (RECOVERED) await expectRecovered(platform);
  });
});

describe('a standby is promoted', () => {
  it('without a synchronised slot; or without transactions that were published: not if it only lacks others', async () => {
    const primary = await sources.cluster.create('primary');
    const address = await sources.proxyOf(primary);
    const [unsynced, ahead, idle] = [
      await sources.platformOn(address.url),
      await sources.platformOn(address.url),
      await sources.platformOn(address.url),
    ];
    await atRest(unsynced);
    await atRest(ahead);
    const standby = await sources.cluster.createStandby('standby', primary);
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
