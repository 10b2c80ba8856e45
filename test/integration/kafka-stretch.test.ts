import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RecordBatch } from '../../src/kafka/lane.ts';
import { openStretchReader, type StretchReader } from '../../src/kafka/stretch.ts';
import { offsetsSince } from '../../src/kafka/topics.ts';
import { COMPACT_SOON, type TestKafka, testKafka } from '../support/kafka.ts';

let kafka: TestKafka;
let reader: StretchReader | null = null;
beforeEach(async () => {
  kafka = await testKafka();
});
afterEach(async () => {
  await reader?.close();
  reader = null;
  await kafka.dispose();
});

const LIMITS = { maxRecords: 3, maxBytes: 1_000_000 };

async function read(
  topic: string,
  [start, end]: readonly [bigint, bigint],
  { signal = new AbortController().signal, limits = LIMITS } = {},
): Promise<RecordBatch[]> {
  reader ??= await openStretchReader(kafka.client, [topic]);
  const batches: RecordBatch[] = [];
  for await (const batch of reader.read({ topic, partition: 0, start, end }, limits, signal))
    batches.push(batch);
  return batches;
}

const offsets = (batches: readonly RecordBatch[]) =>
  batches.map((b) => b.records.map((r) => Number(r.offset)));
const record = (topic: string, n: number, key = `k${n}`) => ({ topic, key, value: `v${n}` });

function expectContinuous(batches: readonly RecordBatch[], start: bigint, end: bigint): void {
  expect([...batches.map((b) => b.from), end]).toEqual([start, ...batches.map((b) => b.next)]);
}

describe('a stretch of a partition', () => {
  it('is read in batches, from its start to its end and not beyond, and is empty if they are one', async () => {
    const topic = await kafka.topic();
    await kafka.publish(Array.from({ length: 10 }, (_, n) => record(topic, n)));
    const batches = await read(topic, [1n, 8n]);
    expect(offsets(batches)).toEqual([[1, 2, 3], [4, 5, 6], [7]]);
    expectContinuous(batches, 1n, 8n);
    expect(batches[0]?.records[0]?.value?.toString()).toBe('v1');
    expect(await read(topic, [5n, 5n])).toEqual([]);
    expect(offsets(await read(topic, [0n, 4n], { limits: { maxRecords: 100, maxBytes: 5 } }))).toEqual([
      [0],
      [1],
      [2],
      [3],
    ]);
  });

  it('of each of several partitions at once: a connection that is left over fails the test', async () => {
    const topic = await kafka.topic(4);
    await kafka.publish(Array.from({ length: 40 }, (_, n) => record(topic, n)));
    const logs = await Promise.all([0, 1, 2, 3].map((partition) => kafka.log(topic, partition)));
    const own = await openStretchReader(kafka.client, [topic]);
    const { signal } = new AbortController();
    const read = await Promise.all(
      logs.map(async (log, partition) => {
        const stretch = { topic, partition, start: 0n, end: BigInt(log.length) };
        const keys: (string | undefined)[] = [];
        for await (const { records } of own.read(stretch, LIMITS, signal))
          keys.push(...records.map((r) => r.key?.toString()));
        return keys;
      }),
    );
    await own.close();
    expect(read).toEqual(logs.map((log) => log.map((r) => r.key?.toString())));
    expect(read.flat()).toHaveLength(40);
  });

  it('goes on over what compaction has removed', async () => {
    const topic = await kafka.topic(1, COMPACT_SOON);
    for (let n = 0; n < 8; n++) await kafka.publish([record(topic, n, 'same')]);
    await vi.waitFor(
      async () => {
        await kafka.publish([record(topic, 99, 'last')]);
        expect((await kafka.log(topic)).filter((r) => r.key?.toString() === 'same')).toHaveLength(1);
      },
      { timeout: 50_000, interval: 500 },
    );
    const batches = await read(topic, [0n, 7n]);
    expect(offsets(batches).flat()).toEqual([]);
    expectContinuous(batches, 0n, 7n);
    expect(offsets(await read(topic, [2n, 8n])).flat()).toEqual([7]);
  });

  it('is a gap if the topic no longer has its start', async () => {
    const topic = await kafka.topic(1, { 'cleanup.policy': 'delete' });
    await kafka.publish(Array.from({ length: 4 }, (_, n) => record(topic, n)));
    // It loads the metadata that deleting needs.
    await kafka.admin.fetchTopicOffsets(topic);
    await kafka.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '2' }] });
    await expect(read(topic, [1n, 4n])).rejects.toMatchObject({ code: 'PROGRESS_GAP' });
    expect(offsets(await read(topic, [2n, 4n])).flat()).toEqual([2, 3]);
  });

  it('ends with the reason of its signal', async () => {
    const topic = await kafka.topic();
    await kafka.publish([record(topic, 1)]);
    await expect(read(topic, [0n, 1n], { signal: AbortSignal.abort('enough') })).rejects.toBe('enough');
  });
});

it('the offsets since a time are those of the first record of that time, or the end', async () => {
  const topic = await kafka.topic();
  await kafka.publish([record(topic, 1), record(topic, 2)]);
  const [, last] = await kafka.log(topic);
  const at = (ms: number) => offsetsSince(kafka.admin, [topic], ms);
  expect(await at(0)).toEqual([{ topic, partition: 0, offset: 0n }]);
  expect(await at((last?.timestampMs ?? 0) + 1)).toEqual([{ topic, partition: 0, offset: 2n }]);
});
