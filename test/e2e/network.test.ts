/** Connections that break, fall silent or are slow, while changes are written. */
import { setTimeout as passed } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createBoltProxy, type BoltProxy } from '../support/bolt-proxy.ts';
import {
  CHANGES_PER_SECOND,
  createPlatform,
  eventually,
  type Platform,
  type Process,
  underLoad,
} from '../support/platform.ts';
import { createProxy, type Proxy } from '../support/tcp-proxy.ts';

const WAL_SENDER_TIMEOUT_MS = 3000;

let platform: Platform;
let postgres: Proxy;
let bolt: BoltProxy;
let replicator: Process;

beforeAll(async () => {
  platform = await createPlatform('network');
  await platform.sql.query(
    `alter database ${platform.name} set wal_sender_timeout = ${WAL_SENDER_TIMEOUT_MS}`,
  );
  postgres = await createProxy(platform.env['DATABASE_URL'] ?? '');
  bolt = await createBoltProxy(platform.env['NEO4J_URI'] ?? '');
  replicator = platform.start(['replicate'], { DATABASE_URL: postgres.url, NEO4J_URI: bolt.url });
  await replicator.logged(/streaming/);
});
afterEach(() => {
  postgres.delay(0);
  bolt.cut('nothing');
});
afterAll(async () => {
  await platform.dispose();
  await postgres.close();
  await bolt.close();
});

const count = (message: RegExp) => replicator.logs.filter((line) => message.test(String(line['msg']))).length;

describe('the graph is right again after the connection to PostgreSQL', () => {
  it.each(['silence', 'reset'] as const)(
    '%s: found within twice wal_sender_timeout, and streaming again',
    async (fault) => {
      const lost = count(/lost its session/);
      const streaming = count(/^streaming$/);
      await underLoad(platform, async () => {
        await passed(1000);
        postgres[fault]();
        await eventually(
          'the loss is found',
          () => Promise.resolve(count(/lost its session/) > lost),
          2 * WAL_SENDER_TIMEOUT_MS,
        );
        await eventually('streaming', () => Promise.resolve(count(/^streaming$/) > streaming), 30_000);
      });
      await platform.expectEqual();
    },
  );

  it('has 200 ms of latency, and no session is lost for it', async () => {
    const lost = count(/lost its session/);
    postgres.delay(200);
    const { changes } = await underLoad(platform, () => passed(5000).then(() => undefined));
    expect(changes).toBeGreaterThan(3 * CHANGES_PER_SECOND);
    await platform.expectEqual();
    expect(count(/lost its session/)).toBe(lost);
  });
});

describe('the graph is right again after the connection to Neo4j', () => {
  it.each(['commit', 'answer'] as const)('is cut at each batch, before its end (%s)', async (what) => {
    await underLoad(platform, async () => {
      const before = bolt.cuts();
      bolt.cut(what);
      await eventually('three batches are cut', () => Promise.resolve(bolt.cuts() >= before + 3));
      bolt.cut('nothing');
    });
    await platform.expectEqual(90);
  });

  it('all of it in the process that ran throughout', async () => {
    await replicator.stop();
  });
});

it('a second signal ends a process that a silent server keeps from draining', async () => {
  const neo4j = await createProxy(platform.env['NEO4J_URI'] ?? '');
  const projector = platform.start(['project'], { NEO4J_URI: neo4j.url });
  await projector.logged(/partitions assigned/);
  const publisher = platform.start(['publish']);
  await publisher.logged(/streaming/);
  const asked = neo4j.hold();
  await underLoad(platform, () =>
    // Each message of Bolt ends so.
    eventually('an answer is waited for', () => Promise.resolve(asked.holds('\0\0'))),
  );
  projector.child.kill('SIGTERM');
  await projector.logged(/^stopping/);
  await passed(1000);
  expect(projector.child.exitCode).toBeNull();
  projector.child.kill('SIGTERM');
  const still = passed(10_000, 'still running', { ref: false });
  expect(await Promise.race([projector.exited, still])).toBe(1);
  expect(projector.stderr()).toMatch(/^The process was told to stop once more/m);
  await neo4j.close();
  await publisher.stop();
});

it('a command that a silent Neo4j does not answer ends, though a connection is open there still', async () => {
  const neo4j = await createProxy(platform.env['NEO4J_URI'] ?? '');
  neo4j.hold();
  const still = passed(30_000, 'still running', { ref: false });
  const command = platform.start(['wait'], { NEO4J_URI: neo4j.url });
  expect(await Promise.race([command.exited, still])).toBe(1);
  expect(command.stderr()).toMatch(/^Neo4j at \S+ cannot be reached\. /m);
  await neo4j.close();
});
