/** Kafka loses the end of a partition that it had answered for: its next answer shows it, and so does a look. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createWrittenEnds } from '../../src/core/topic-ends.ts';
import { createKafka, type KafkaClient } from '../../src/kafka/client.ts';
import { lookForLostEnds, watchEnds } from '../../src/kafka/lost-records.ts';
import { createPublisher, type OutgoingRecord } from '../../src/kafka/publisher.ts';
import { topicIds } from '../../src/kafka/topic-ids.ts';
import { createTopic, silent } from '../support/kafka.ts';
import { type SecondKafka, startSecondKafka } from '../support/second-kafka.ts';

let kafka: SecondKafka;
let client: KafkaClient;
beforeAll(async () => {
  kafka = await startSecondKafka();
  client = createKafka({ brokers: [kafka.brokers], clientId: 'test' }, silent);
});
afterAll(() => kafka.stop());

/** With a record in each of its two partitions. */
async function topicOf(name: string): Promise<string> {
  const admin = client.admin();
  await admin.connect();
  await createTopic(admin, { topic: name, numPartitions: 2 });
  await admin.disconnect();
  const publisher = await createPublisher(client, { topics: [name] }, silent);
  await publisher.send([...records(name, 0, 1), ...records(name, 1, 1)]);
  await publisher.close();
  return name;
}

function records(topic: string, partition: number, count: number): OutgoingRecord[] {
  return Array.from({ length: count }, (_, i) => ({ topic, partition, key: `k${i}`, value: 'v' }));
}

const LOOK_EVERY_MS = 100;

it('of what the same publisher wrote', async () => {
  const topic = await topicOf('same');
  const before = await kafka.lengths(topic);
  const written = createWrittenEnds({});
  const publisher = await createPublisher(client, { topics: [topic], written }, silent);
  await publisher.send([...records(topic, 0, 5), ...records(topic, 1, 100)]);
  expect(written.ends()).toEqual({ [topic]: ['6', '101'] });
  await kafka.lose(before);

  await expect(publisher.send(records(topic, 1, 1))).rejects.toMatchObject({
    code: 'KAFKA_TOPIC_CHANGED',
    context: { reason: `topic ${topic}-1 went on at 1, though it had ended at 101` },
  });
  await expect(publisher.send(records(topic, 0, 1))).rejects.toMatchObject({ code: 'KAFKA_TOPIC_CHANGED' });
  await publisher.close();
  expect(await lookForLostEnds(client, [topic], written.ends())).toEqual([
    `topic ${topic}-0 ends at 1, before the recorded 6`,
    `topic ${topic}-1 ends at 2, before the recorded 101`,
  ]);
});

it('of what is recorded of an earlier one, while nothing is written', async () => {
  const topic = await topicOf('earlier');
  const publisher = await createPublisher(client, { topics: [topic] }, silent);
  await publisher.send(records(topic, 1, 5));
  const before = await kafka.lengths(topic);
  await publisher.send(records(topic, 1, 5));
  await publisher.close();
  const ids = await topicIds(client, [topic]);
  const { signal } = new AbortController();
  const ends = () => ({ [topic]: ['0', '11'] });
  const watched = watchEnds(client, ids, ends, signal, LOOK_EVERY_MS).catch((error: unknown) => error);
  await kafka.lose(before);
  expect(await watched).toMatchObject({
    code: 'KAFKA_TOPIC_CHANGED',
    context: { reason: `topic ${topic}-1 ends at 6, before the recorded 11` },
  });

  // Of a topic that was made again others tell.
  const stop = AbortSignal.timeout(20 * LOOK_EVERY_MS);
  await watchEnds(client, new Map([[topic, 'another']]), ends, stop, LOOK_EVERY_MS);
});
