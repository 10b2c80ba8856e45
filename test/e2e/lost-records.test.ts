/**
 * Kafka loses the end of a topic that PostgreSQL was told is there, as when the power fails: the slot is past it, so it
 * never comes again, and the graph may not have had it. The publisher finds out by itself (I6), at its start or while it
 * runs.
 */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { fill } from '../support/fill.ts';
import { createKafkaProxy } from '../support/kafka-proxy.ts';
import { createPlatform, type Platform, type Process } from '../support/platform.ts';
import { type Lengths, type SecondKafka, startSecondKafka } from '../support/second-kafka.ts';
import { servers } from '../support/servers.ts';
import { expectStopped } from '../support/stopped.ts';

let kafka: SecondKafka;
let platform: Platform;
let before: Lengths;
const platforms: Platform[] = [];

beforeAll(async () => {
  kafka = await startSecondKafka();
});
afterAll(async () => {
  for (const one of platforms) await one.dispose();
  await kafka.stop();
});

beforeEach(async () => {
  platform = await createPlatform('cut', { ...servers(), kafkaBrokers: kafka.brokers });
  platforms.push(platform);
  await fill(platform.sql, { seed: 11, entities: 100 });
});

async function publishing(env = {}): Promise<Process> {
  const publisher = platform.start(['publish'], env);
  await publisher.logged(/streaming/);
  return publisher;
}

const change = () => platform.sql.query(`update entity set last_updated_at = now()`);

async function noteLengths(): Promise<void> {
  before = await kafka.lengths(`${platform.name}.public.entity`);
}

/** Acknowledged to PostgreSQL when it has stopped. */
async function published(): Promise<void> {
  const publisher = await publishing();
  await change();
  await platform.sql.query(`delete from entity where id in (select id from entity order by id limit 10)`);
  await platform.run(['wait', '--timeout', '1']);
  await publisher.stop();
}

const ENDS = /topic cut_\w+\.public\.entity-\d ends at \d+, before the recorded \d+/;

it('while nothing runs: no start goes on, and a recovery makes it good', async () => {
  const first = platform.start(['replicate']);
  await first.logged(/partitions assigned/);
  await platform.expectEqual();
  await first.stop();
  await noteLengths();
  await published();
  await kafka.lose(before);
  for (let start = 0; start < 2; start++) {
    const refused = platform.start(['publish']);
    await expectStopped(refused, ENDS);
    expect(refused.logs.map(({ msg }) => msg)).not.toContain('streaming');
  }
  expect((await platform.run(['status'])).stdout).toMatch(new RegExp(`^GAP {7}${ENDS.source}`, 'm'));
  expect((await platform.run(['recover'])).stdout).toMatch(ENDS);

  const recovering = platform.start(['recover', '--yes']);
  await recovering.logged(/a recovery has begun/);
  const replicator = platform.start(['replicate']);
  expect(await recovering.exited, recovering.stderr().slice(-3000)).toBe(0);
  await platform.expectEqual();
  await replicator.stop();

  // The new epoch has ends of its own.
  await noteLengths();
  await published();
  await kafka.lose(before);
  await expectStopped(platform.start(['publish']), ENDS);

  // A graph that had been further than what was left, and stood aside until the topic was so long again.
  await platform.cypher(
    `MATCH (p:_Progress {namespace: $name, topic: $topic, partition: 1}) SET p.epoch = 1, p.next = p.next - 1`,
    { name: platform.name, topic: `${platform.name}.public.entity` },
  );
  const missed =
    /the graph goes on at offset \d+ of \S+entity-1, where the recovery of epoch \d+ began at \d+/;
  const projector = platform.start(['project']);
  expect(await projector.exited).toBe(1);
  expect(projector.stderr()).toMatch(new RegExp(`^The graph has missed a recovery: ${missed.source}`, 'm'));
  expect((await platform.run(['status'])).stdout).toMatch(new RegExp(`^GAP {7}${missed.source}`, 'm'));
});

it('while the publisher is idle, and loses no connection by it', async () => {
  await published();
  await noteLengths();
  await published();
  const proxy = await createKafkaProxy(kafka.brokers);
  try {
    const publisher = await publishing({ KAFKA_BROKERS: proxy.brokers });
    const { release } = proxy.hold();
    await kafka.lose(before);
    release();
    await expectStopped(publisher, ENDS);
    expect(publisher.logs.filter(({ msg }) => msg === 'streaming')).toHaveLength(1);
  } finally {
    await proxy.close();
  }
});

it('while the publisher writes', async () => {
  await published();
  await noteLengths();
  await published();
  const publisher = await publishing();
  await kafka.lose(before);
  await change();
  const lost = /topic cut_\w+\.public\.entity-\d (ends|went on) at \d+/;
  await expectStopped(publisher, lost);
  await expectStopped(platform.start(['publish']), lost);
});
