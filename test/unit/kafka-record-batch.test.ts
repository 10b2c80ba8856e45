import { createRequire } from 'node:module';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../src/kafka/crc32c.ts';
import { decodeBatches, RecordBatchWriter } from '../../src/kafka/record-batch.ts';

const require = createRequire(import.meta.url);

interface TheirRecord {
  readonly offset: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly timestamp: string;
}
interface Encoded {
  readonly buffer: Buffer;
}

/** kafkajs's own reader and writer: an independent opinion of the format. */
const Decoder = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => object;
const theirDecode = require('kafkajs/src/protocol/recordBatch/v0/decoder') as (decoder: object) => Promise<{
  readonly records: readonly TheirRecord[];
  readonly producerId: string;
  readonly producerEpoch: number;
  readonly firstSequence: number;
}>;
const theirRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (record: object) => object;
const { RecordBatch: theirBatch } = require('kafkajs/src/protocol/recordBatch/v0') as {
  RecordBatch: (batch: object) => Promise<Encoded>;
};

const STAMP = { producerId: 7n, producerEpoch: 3, firstSequence: 11 };
const NOW = 1_764_000_000_000;

interface Entry {
  readonly key: string;
  readonly value: string | null;
}

function encode(entries: readonly Entry[]): Buffer {
  const writer = new RecordBatchWriter();
  for (const { key, value } of entries) {
    writer.append(
      Buffer.from(key),
      Buffer.byteLength(key),
      value,
      value === null ? 0 : Buffer.byteLength(value),
    );
  }
  return Buffer.from(writer.finish(STAMP, NOW));
}

/** As the broker stores it. */
function at(offset: bigint, batch: Buffer): Buffer {
  const placed = Buffer.from(batch);
  placed.writeBigInt64BE(offset, 0);
  return placed;
}

/** What compaction leaves: fewer records (none, here), the batch's extent unchanged. */
function emptied(offset: bigint, extent: number): Buffer {
  const batch = at(offset, encode([{ key: 'k', value: 'v' }])).subarray(0, 61);
  batch.writeInt32BE(batch.length - 12, 8);
  batch.writeInt32BE(extent - 1, 23);
  batch.writeInt32BE(0, 57);
  return sealed(batch);
}

function sealed(batch: Buffer): Buffer {
  batch.writeUInt32BE(crc32c(batch, 21, batch.length), 17);
  return batch;
}

const entries = fc.array(
  fc.record({
    key: fc.string({ unit: 'binary', maxLength: 300 }),
    value: fc.option(fc.string({ unit: 'binary', maxLength: 20_000 }), { freq: 5 }),
  }),
  { minLength: 1, maxLength: 300 },
);

describe('record batches', () => {
  it('that we write are read alike by kafkajs and by us', async () => {
    await fc.assert(
      fc.asyncProperty(entries, fc.bigInt(0n, 2n ** 62n), async (wanted, offset) => {
        const bytes = at(offset, encode(wanted));
        const theirs = await theirDecode(new Decoder(bytes));
        const ours = decodeBatches(bytes, offset);
        expect(theirs).toMatchObject({ producerId: '7', producerEpoch: 3, firstSequence: 11 });
        expect(ours.records.map((r) => [r.offset.toString(), r.key, r.value, String(r.timestampMs)])).toEqual(
          theirs.records.map((r) => [r.offset, r.key, r.value, r.timestamp]),
        );
        expect(ours.records.map((r) => [r.key?.toString(), r.value?.toString() ?? null])).toEqual(
          wanted.map((r) => [
            Buffer.from(r.key).toString(),
            r.value === null ? null : Buffer.from(r.value).toString(),
          ]),
        );
        expect(ours.next).toBe(offset + BigInt(wanted.length));
      }),
      { numRuns: 60 },
    );
  });

  it('that kafkajs writes, with timestamps and headers, are read by us', async () => {
    const records = [0, -5, 86_400_000_000, 3].map((timestampDelta, offsetDelta) =>
      theirRecord({
        offsetDelta,
        timestampDelta,
        key: `k${offsetDelta}`,
        value: 'v',
        headers: { a: 'b', c: 'd' },
      }),
    );
    const batch = await theirBatch({ records, firstTimestamp: NOW, maxTimestamp: NOW, lastOffsetDelta: 3 });
    const { records: read } = decodeBatches(batch.buffer, 0n);
    expect(read.map((r) => [r.key?.toString(), r.timestampMs - NOW])).toEqual([
      ['k0', 0],
      ['k1', -5],
      ['k2', 86_400_000_000],
      ['k3', 3],
    ]);
  });

  it('are read from an offset within, and up to a batch that is cut off', () => {
    const one = at(10n, encode(['a', 'b', 'c', 'd', 'e'].map((key) => ({ key, value: 'v' }))));
    const two = at(15n, encode([{ key: 'f', value: 'v' }]));
    for (let cut = 0; cut < two.length; cut++) {
      const { records, next } = decodeBatches(Buffer.concat([one, two.subarray(0, cut)]), 12n);
      expect(records.map((r) => r.key?.toString()).join('')).toBe('cde');
      expect(next).toBe(15n);
    }
  });

  it('of which compaction has left nothing, or not the end, are passed', () => {
    const short = at(20n, encode([{ key: 'a', value: 'v' }]));
    short.writeInt32BE(9, 23);
    sealed(short);
    expect(decodeBatches(emptied(10n, 5), 10n)).toEqual({ records: [], next: 15n });
    const both = decodeBatches(Buffer.concat([emptied(10n, 10), short]), 13n);
    expect(both.records.map((r) => r.offset)).toEqual([20n]);
    expect(both.next).toBe(30n);
  });

  it('may be compressed with gzip, and have the time of the broker', () => {
    const plain = at(0n, encode([{ key: 'a', value: 'v'.repeat(100) }]));
    const zipped = Buffer.concat([plain.subarray(0, 61), gzipSync(plain.subarray(61))]);
    zipped.writeInt32BE(zipped.length - 12, 8);
    zipped.writeInt16BE(0x09, 21);
    zipped.writeBigInt64BE(BigInt(NOW + 42), 35);
    const [record] = decodeBatches(sealed(zipped), 0n).records;
    expect(record?.value?.toString()).toBe('v'.repeat(100));
    expect(record?.timestampMs).toBe(NOW + 42);
  });

  it('that mark transactions have no records', () => {
    const marker = at(5n, encode([{ key: 'marker', value: 'v' }]));
    marker.writeInt16BE(0x20, 21);
    expect(decodeBatches(sealed(marker), 5n)).toEqual({ records: [], next: 6n });
  });

  it('that are damaged, or compressed in another way, are refused', () => {
    const good = at(0n, encode([{ key: 'a', value: 'v' }]));
    for (const bit of [21 * 8, 23 * 8 + 7, 61 * 8 + 3, (good.length - 1) * 8]) {
      const bad = Buffer.from(good);
      bad.writeUInt8(bad.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(() => decodeBatches(bad, 0n)).toThrow(
        expect.objectContaining({ code: 'KAFKA_FAILED' }) as Error,
      );
    }
    const zstd = Buffer.from(good);
    zstd.writeInt16BE(4, 21);
    expect(() => decodeBatches(sealed(zstd), 0n)).toThrow(/compression\.type/);
  });

  it('have the checksum of the standard', () => {
    const standard = Buffer.from('…123456789…');
    expect(crc32c(standard, 3, 12)).toBe(0xe3069283);
  });
});
