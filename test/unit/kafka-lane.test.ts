import { expect, it } from 'vitest';
import { Lane, type LaneLimits, type RecordBatch } from '../../src/kafka/lane.ts';
import type { IncomingRecord } from '../../src/kafka/record-batch.ts';

const LIMITS: LaneLimits = { queueBytes: 100, maxRecords: 10, maxBytes: 1_000 };

function record(offset: number, bytes = 10): IncomingRecord {
  return { offset: BigInt(offset), key: null, value: Buffer.alloc(bytes), timestampMs: 0 };
}

function open(limits: Partial<LaneLimits> = {}, next = 0n) {
  const rooms: number[] = [];
  const lane: Lane = new Lane({ topic: 't', partition: 3 }, next, { ...LIMITS, ...limits }, () => {
    rooms.push(lane.queuedBytes);
  });
  const batches = lane[Symbol.asyncIterator]();
  const pull = async (): Promise<RecordBatch | null> => {
    const pulled = await batches.next();
    return pulled.done === true ? null : pulled.value;
  };
  return { lane, pull, rooms };
}

function extent(batch: RecordBatch | null): unknown {
  return batch === null ? null : [batch.from, batch.records.map((r) => Number(r.offset)), batch.next];
}

it('merges what waits, up to the limits, and each batch starts where the last one ended', async () => {
  const { lane, pull } = open({ maxRecords: 4 });
  lane.push({ records: [record(0), record(1)], next: 2n });
  lane.push({ records: [record(5), record(7), record(8)], next: 12n });
  lane.push({ records: [record(15)], next: 16n });
  expect(extent(await pull())).toEqual([0n, [0, 1, 5, 7], 8n]);
  expect(extent(await pull())).toEqual([8n, [8, 15], 16n]);
});

it('counts the bytes of a batch, and lets a single larger record pass', async () => {
  const { lane, pull } = open({ maxBytes: 25 });
  lane.push({ records: [record(0, 10), record(1, 10), record(2, 10), record(3, 90)], next: 4n });
  expect(extent(await pull())).toEqual([0n, [0, 1], 2n]);
  expect(extent(await pull())).toEqual([2n, [2], 3n]);
  expect(extent(await pull())).toEqual([3n, [3], 4n]);
});

it('delivers a stretch of which compaction has left nothing', async () => {
  const { lane, pull } = open({}, 10n);
  lane.push({ records: [], next: 15n });
  expect(extent(await pull())).toEqual([10n, [], 15n]);
  lane.push({ records: [], next: 20n });
  lane.push({ records: [record(22)], next: 30n });
  expect(extent(await pull())).toEqual([15n, [22], 30n]);
});

it('has no room while too much waits, and says when it has again', async () => {
  const { lane, pull, rooms } = open({ maxRecords: 5 });
  lane.push({ records: Array.from({ length: 12 }, (_, i) => record(i)), next: 12n });
  expect([lane.hasRoom, lane.queuedBytes, lane.fetchOffset]).toEqual([false, 120, 12n]);
  await pull();
  expect([lane.hasRoom, rooms]).toEqual([true, [70]]);
  await pull();
  expect(rooms).toEqual([70]);
});

it('wakes its reader when something comes, and when it ends', async () => {
  const { lane, pull } = open();
  const first = pull();
  lane.push({ records: [], next: 0n });
  lane.push({ records: [record(0)], next: 1n });
  expect(extent(await first)).toEqual([0n, [0], 1n]);
  const second = pull();
  lane.end();
  expect(await second).toBeNull();
});

it('drops what waits when it ends, and takes nothing more', async () => {
  const { lane, pull } = open();
  lane.push({ records: [record(0)], next: 1n });
  lane.end();
  lane.push({ records: [record(1)], next: 2n });
  expect(lane.hasRoom).toBe(false);
  expect(await pull()).toBeNull();
});

it('gives each commit once, and the last one only', () => {
  const { lane } = open();
  expect(lane.takeCommit()).toEqual([]);
  lane.commit(3n);
  lane.commit(7n);
  expect(lane.takeCommit()).toEqual([{ topic: 't', partition: 3, next: 7n }]);
  expect(lane.takeCommit()).toEqual([]);
});
