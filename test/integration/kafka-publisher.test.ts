import { afterEach, beforeEach, expect, it } from 'vitest';
import { createPublisher, type OutgoingRecord } from '../../src/kafka/publisher.ts';
import { createTopic, silent, type TestKafka, testKafka, watchSockets } from '../support/kafka.ts';

let kafka: TestKafka;
beforeEach(async () => {
  kafka = await testKafka();
});
afterEach(async () => {
  await kafka.dispose();
});

/** Numbered records over all partitions of a topic, in sends of very different sizes. */
function numbered(topic: string, partitions: number, sends: number): OutgoingRecord[][] {
  let n = 0;
  return Array.from({ length: sends }, (_, i) =>
    Array.from({ length: 1 + ((i * i * 37) % 1_500) }, () => {
      const value = `${String(n).padStart(8, '0')}${'x'.repeat((n * 7) % 1_400)}`;
      return { topic, partition: n++ % partitions, key: `k${n % 1_000}`, value };
    }),
  );
}

async function numbersIn(topic: string, partition: number): Promise<number[]> {
  return (await kafka.log(topic, partition)).map(({ value }) => Number(value?.toString('latin1', 0, 8)));
}

async function expectOnceInOrder(
  topic: string,
  partitions: number,
  sent: readonly OutgoingRecord[][],
): Promise<void> {
  for (let partition = 0; partition < partitions; partition++) {
    const wanted = sent.flat().filter((r) => r.partition === partition);
    expect(await numbersIn(topic, partition)).toEqual(wanted.map((r) => Number(r.value?.slice(0, 8))));
  }
}

it('records of overlapping sends are there once, and per partition in order', async () => {
  const topic = await kafka.topic(3);
  const publisher = await createPublisher(kafka.client, { topics: [topic] }, silent);
  const sent = numbered(topic, 3, 60);
  await Promise.all(sent.map((records) => publisher.send(records)));
  await publisher.close();
  await expectOnceInOrder(topic, 3, sent);
});

it('and are so when the connection is cut again and again', async () => {
  const topic = await kafka.topic(3);
  const sockets = watchSockets();
  const publisher = await createPublisher(kafka.client, { topics: [topic], maxInFlight: 5 }, silent);
  const sent = numbered(topic, 3, 120);
  let acknowledged = 0;
  let cuts = 0;
  await Promise.all(
    sent.map(async (records) => {
      await publisher.send(records);
      acknowledged++;
      if (acknowledged % 8 !== 0) return;
      sockets.cut();
      cuts++;
    }),
  );
  sockets.stop();
  await publisher.close();
  expect(cuts).toBeGreaterThan(10);
  await expectOnceInOrder(topic, 3, sent);
});

it('a record goes to its partition, or by its key, and a null value stays null', async () => {
  const one = await kafka.topic(4);
  const two = await kafka.topic(1);
  const publisher = await createPublisher(kafka.client, { topics: [one, two] }, silent);
  await publisher.send([
    { topic: one, key: 'k', value: '🦔 ünï', partition: 2 },
    { topic: two, key: 'ключ', value: null },
    { topic: one, key: 'same', value: '1' },
    { topic: one, key: 'same', value: '2' },
  ]);
  await publisher.close();
  const texts = async (topic: string, partition: number) =>
    (await kafka.log(topic, partition)).map((r) => [r.key?.toString(), r.value?.toString() ?? null]);
  expect(await texts(two, 0)).toEqual([['ключ', null]]);
  expect(await texts(one, 2)).toContainEqual(['k', '🦔 ünï']);
  const all = await Promise.all([0, 1, 2, 3].map((partition) => texts(one, partition)));
  const same = all.map((records) => records.filter(([key]) => key === 'same'));
  expect(same.filter((records) => records.length > 0)).toEqual([
    [
      ['same', '1'],
      ['same', '2'],
    ],
  ]);
});

it('a record that is too large refuses its call alone, before anything of it is sent', async () => {
  const limit = 1024 * 1024;
  const topic = await kafka.topic(1, { 'max.message.bytes': String(limit) });
  const publisher = await createPublisher(kafka.client, { topics: [topic], maxRecordBytes: limit }, silent);
  const record = (bytes: number) => ({ topic, key: 'k', value: 'é'.repeat(bytes / 2) });
  const refused = publisher.send([record(10), record(limit), record(10)]);
  await expect(refused).rejects.toMatchObject({
    code: 'KAFKA_RECORD_TOO_LARGE',
    context: { topic, index: 1 },
  });
  await publisher.send([record(limit - 200)]);
  await publisher.close();
  expect(await kafka.log(topic)).toHaveLength(1);
});

it('after an error of the broker’s it is spent: nothing overtakes what was lost', async () => {
  const topic = await kafka.topic(1, { 'max.message.bytes': '10000' });
  const publisher = await createPublisher(kafka.client, { topics: [topic] }, silent);
  await publisher.send([{ topic, key: 'before', value: 'v' }]);
  const large = publisher.send([{ topic, key: 'large', value: 'x'.repeat(20_000) }]);
  const after = publisher.send([{ topic, key: 'after', value: 'v' }]);
  const [first, second] = await Promise.allSettled([large, after]);
  expect(first).toMatchObject({ reason: { code: 'KAFKA_RECORD_TOO_LARGE' } });
  expect(second).toEqual(first);
  await expect(publisher.send([{ topic, key: 'later', value: 'v' }])).rejects.toMatchObject({
    code: 'KAFKA_RECORD_TOO_LARGE',
  });
  await publisher.close();
  expect((await kafka.log(topic)).map((r) => r.key?.toString())).toEqual(['before']);
});

it('a topic that was deleted meanwhile is an error once the retries have ended', async () => {
  const topic = await kafka.topic(1);
  const gone = kafka.name('gone');
  await createTopic(kafka.admin, { topic: gone, numPartitions: 1 });
  const publisher = await createPublisher(kafka.client, { topics: [topic, gone], retryForMs: 200 }, silent);
  await kafka.admin.deleteTopics({ topics: [gone] });
  await expect(publisher.send([{ topic: gone, key: 'k', value: 'v' }])).rejects.toMatchObject({
    code: 'KAFKA_TOPIC',
  });
  await publisher.close();
});

it('retries end when the signal says so', async () => {
  const topic = await kafka.topic(1);
  const stop = new AbortController();
  const sockets = watchSockets();
  const publisher = await createPublisher(kafka.client, { topics: [topic], signal: stop.signal }, silent);
  stop.abort();
  sockets.cut();
  sockets.stop();
  await expect(publisher.send([{ topic, key: 'k', value: 'v' }])).rejects.toMatchObject({
    code: 'KAFKA_UNREACHABLE',
  });
  await publisher.close();
});
