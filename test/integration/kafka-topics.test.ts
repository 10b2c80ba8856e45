import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { endOffsets, ensureTopics, topicsExist, type TopicSpec, withAdmin } from '../../src/kafka/topics.ts';
import { topicIds } from '../../src/kafka/topic-ids.ts';
import { createTopic, type TestKafka, testKafka, watchSockets } from '../support/kafka.ts';

const never = new AbortController().signal;

let kafka: TestKafka;
beforeEach(async () => {
  kafka = await testKafka();
});
afterEach(async () => {
  await kafka.dispose();
});

function spec(topic: string, partitions: number, configs: Record<string, string>): TopicSpec {
  return { topic, partitions, replicationFactor: 1, configs };
}

it('creates the topics that are absent, and finds them right the next time', async () => {
  const present = await kafka.topic(2, { 'cleanup.policy': 'compact' });
  const absent = kafka.name('absent');
  const specs = [
    spec(present, 2, { 'cleanup.policy': 'compact' }),
    spec(absent, 3, {
      'cleanup.policy': 'compact,delete',
      'max.message.bytes': '20971520',
      'segment.ms': '86400000',
    }),
  ];
  expect(await topicsExist(kafka.admin, [present, absent])).toEqual([present]);
  expect(await ensureTopics(kafka.admin, specs, never)).toEqual({ created: [absent] });
  expect(await ensureTopics(kafka.admin, specs, never)).toEqual({ created: [] });
  const [{ partitions } = { partitions: [] }] = (await kafka.admin.fetchTopicMetadata({ topics: [absent] }))
    .topics;
  expect(partitions).toHaveLength(3);
  await kafka.admin.deleteTopics({ topics: [absent] });
});

it('names every difference of every topic at once, with what to do, and creates nothing then', async () => {
  const one = await kafka.topic(2, { 'cleanup.policy': 'delete', 'segment.ms': '1000' });
  const two = await kafka.topic(1, { 'cleanup.policy': 'compact' });
  const absent = kafka.name('absent');
  const configs = { 'cleanup.policy': 'compact', 'segment.ms': '2000' };
  const specs = [spec(one, 4, configs), spec(two, 1, configs), spec(absent, 1, {})];
  const error: unknown = await ensureTopics(kafka.admin, specs, never).catch((e: unknown) => e);
  expect(error).toMatchObject({ code: 'KAFKA_TOPIC' });
  const { message } = error as Error;
  expect(message).toContain(`Topic ${one} has 2 partitions, not 4: set "partitions" to 2.`);
  expect(message).toContain(`cleanup.policy=delete, not compact, segment.ms=1000, not 2000`);
  expect(message).toContain(`--entity-name ${one} --add-config cleanup.policy=compact,segment.ms=2000`);
  expect(message).toContain(`--entity-name ${two} --add-config segment.ms=2000`);
  expect(await topicsExist(kafka.admin, [absent])).toEqual([]);
});

it('tells a setting that the broker does not take', async () => {
  const wrong = spec(kafka.name('wrong'), 1, { 'cleanup.policy': 'sometimes' });
  await expect(ensureTopics(kafka.admin, [wrong], never)).rejects.toMatchObject({ code: 'KAFKA_TOPIC' });
  const many = { ...spec(kafka.name('wrong'), 1, {}), replicationFactor: 3 };
  await expect(ensureTopics(kafka.admin, [many], never)).rejects.toMatchObject({ code: 'KAFKA_TOPIC' });
});

it('knows where the partitions begin and end', async () => {
  const topic = await kafka.topic(2);
  await kafka.publish(Array.from({ length: 5 }, () => ({ topic, partition: 1, key: 'k', value: 'v' })));
  // It loads the metadata that deleting needs.
  await kafka.admin.fetchTopicOffsets(topic);
  await kafka.admin.deleteTopicRecords({ topic, partitions: [{ partition: 1, offset: '2' }] });
  expect(await endOffsets(kafka.admin, [topic])).toEqual(
    new Map([
      [
        topic,
        [
          { partition: 0, low: 0n, end: 0n },
          { partition: 1, low: 2n, end: 5n },
        ],
      ],
    ]),
  );
  await expect(endOffsets(kafka.admin, [kafka.name('missing')])).rejects.toMatchObject({
    code: 'KAFKA_TOPIC',
  });
});

it('knows a topic that was deleted and made again from the one before, by its id', async () => {
  const [one, two, absent] = [await kafka.topic(2, {}), await kafka.topic(1, {}), kafka.name('absent')];
  const before = await topicIds(kafka.client, [one, two, absent]);
  expect([...before.keys()].sort()).toEqual([one, two].sort());
  for (const id of before.values()) expect(id).toMatch(/^[0-9a-f]{32}$/);
  expect(new Set(before.values()).size).toBe(2);
  expect(await topicIds(kafka.client, [two, one])).toEqual(before);

  await kafka.admin.deleteTopics({ topics: [two] });
  await createTopic(kafka.admin, { topic: two, numPartitions: 1 });
  const after = await topicIds(kafka.client, [one, two]);
  expect(after.get(one)).toBe(before.get(one));
  expect(after.get(two)).toMatch(/^[0-9a-f]{32}$/);
  expect(after.get(two)).not.toBe(before.get(two));
});

it('topics that are missing are told once all has been asked: nothing connects again when that is over', async () => {
  const absent = Array.from({ length: 4 }, () => kafka.name('absent'));
  const sockets = watchSockets();
  await expect(withAdmin(kafka.client, (admin) => endOffsets(admin, absent))).rejects.toMatchObject({
    code: 'KAFKA_TOPIC',
  });
  // As long as it takes to ask for a topic once more.
  await delay(3000);
  expect(sockets.open()).toEqual([]);
  sockets.stop();
});
