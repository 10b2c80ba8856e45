/** Servers that go away and come back while changes are written: their own stack, so that they may be killed. */
import { setTimeout as passed } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Stack, startStack } from '../../src/stack/stack.ts';
import { createPlatform, type Platform, type Process, underLoad } from '../support/platform.ts';
import { serversOf } from '../support/servers.ts';
import { soak } from '../support/soak.ts';

const NEO4J_KILLS = soak ? 3 : 2;
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
    expect(changes).toBeGreaterThan(1000);
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
      await stack.services.postgres.restart(mode);
      const restartedAt = performance.now();
      for (let n = 50; n < 100; n++) await write(n);
      await platform.expectEqual(60);
      expect(performance.now() - restartedAt).toBeLessThan(10_000);
    },
  );

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
