/** Servers that go away and come back while changes are written: their own stack, so that they may be killed. */
import { setTimeout as passed } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Stack, startStack } from '../../src/stack/stack.ts';
import {
  CHANGES_PER_SECOND,
  createPlatform,
  eventually,
  type Platform,
  type Process,
  underLoad,
} from '../support/platform.ts';
import { serversOf } from '../support/servers.ts';
import { soak } from '../support/soak.ts';

const NEO4J_KILLS = soak ? 3 : 1;
const AWAY_MS = Number(process.env['KAFKA_AWAY_MS'] ?? 5_000);

/** The longest pause between attempts, a group that forms again on a broker that has just started, and the comparison. */
const RECONNECT_MS = 30_000;

let stack: Stack;
let platform: Platform;
let replicator: Process;

beforeAll(async () => {
  stack = await startStack({ ephemeral: true });
  platform = await createPlatform('faults', serversOf(stack.env));
  replicator = platform.start(['replicate']);
  await replicator.logged(/streaming/);
});
afterAll(async () => {
  await platform.dispose();
  await stack.stop();
});

describe('the graph is right again after', () => {
  it('Kafka restarts, and after it was away', async () => {
    const { changes } = await underLoad(platform, async () => {
      await passed(1000);
      await stack.services.kafka.restart('kill');
      await passed(2000);
      await stack.services.kafka.stop('kill');
      await passed(AWAY_MS);
      await stack.services.kafka.start();
    });
    expect(changes).toBeGreaterThan(5 * CHANGES_PER_SECOND);
    const backAt = performance.now();
    await platform.expectEqual(120);
    expect(performance.now() - backAt).toBeLessThan(RECONNECT_MS + AWAY_MS / 5);
  });

  it('Neo4j is killed mid batch and restarts', async () => {
    await underLoad(platform, async () => {
      for (let round = 0; round < NEO4J_KILLS; round++) {
        await passed(1000 + Math.random() * 500);
        await stack.services.neo4j.restart('kill');
      }
    });
    await platform.expectEqual(120);
  });

  it.each(['fast', 'immediate', 'kill'] as const)(
    'PostgreSQL restarts (%s); streaming again within 10 s',
    async (mode) => {
      for (let n = 0; n < 50; n++) await write(n);
      const sessions = () => replicator.logs.filter(({ msg }) => msg === 'streaming').length;
      const before = sessions();
      await stack.services.postgres.restart(mode);
      await eventually('streaming again', () => Promise.resolve(sessions() > before), 10_000);
      for (let n = 50; n < 100; n++) await write(n);
      await platform.expectEqual(60);
    },
  );

  it('PostgreSQL crashes before a commit is on disk that a request has read', async () => {
    const { sql, names } = platform;
    const id = '0a000000-0000-4000-8000-000000000001';
    await sql.query(
      `insert into entity (id, type, data, created_at, last_updated_at) values ($1, 'ttp', '{"title": "kept"}', now(), now())`,
      [id],
    );
    await platform.expectEqual();
    // Without it nothing but the next commit writes what was committed asynchronously.
    const walwriter = () =>
      sql.query<{ pid: number }>(`select pid from pg_stat_activity where backend_type = 'walwriter'`);
    const pid = (await walwriter()).rows[0]?.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    replicator.child.kill('SIGSTOP');
    const { rows } = await sql.query<{ lsn: string }>(
      `select pg_logical_emit_message(true, 'graph.republish', $1::text) as lsn`,
      [JSON.stringify({ v: 1, table: 'public.entity', keys: [[id]], runId: 'r', reason: 'test' })],
    );
    // Behind it what the slot is told is on disk at once; and a commit that is on disk itself.
    await sql.query('select pg_log_standby_snapshot()');
    await write(0);
    await sql.query(
      `begin; set local synchronous_commit = off; update entity set data = '{"title": "lost"}' where id = '${id}'; commit`,
    );
    replicator.child.kill('SIGCONT');
    await eventually('what was read is in the graph', async () => {
      const found = await platform.cypher(
        `MATCH (n:${names.labels.entity} {id: $id}) RETURN n.title AS title`,
        {
          id,
        },
      );
      return found[0]?.['title'] === 'lost';
    });
    await eventually('its request is acknowledged', async () => {
      const { rowCount } = await sql.query(
        'select from pg_replication_slots where slot_name = $1 and confirmed_flush_lsn >= $2',
        [platform.name, rows[0]?.lsn],
      );
      return rowCount === 1;
    });
    process.kill(pid, 'SIGKILL'); // and PostgreSQL begins again from what is on disk
    await eventually('PostgreSQL is there again', () =>
      walwriter().then(
        ({ rows }) => rows.length === 1 && rows[0]?.pid !== pid,
        () => false,
      ),
    );
    await platform.expectEqual();
  });

  it('all of it, in the process that ran throughout', async () => {
    await replicator.stop();
  });
});

async function write(n: number): Promise<void> {
  await platform.sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at)
     values (gen_random_uuid(), 'ttp', jsonb_build_object('title', $1::text), now(), now())`,
    [`row ${n}`],
  );
}
