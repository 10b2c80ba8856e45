/**
 * Kafka's record batch, version 2 (https://kafka.apache.org/documentation/#recordbatch): written straight from text into
 * one growing buffer, and read as views of the bytes that were fetched.
 *
 *     0 base offset (8) · 8 length (4) · 12 leader epoch (4) · 16 magic (1) · 17 CRC of what follows (4) · 21 attributes (2)
 *     23 last offset delta (4) · 27 first and 35 last timestamp (8) · 43 producer id (8) · 51 producer epoch (2)
 *     53 base sequence (4) · 57 count (4) · 61 records
 */
import { gunzipSync } from 'node:zlib';
import { AppError } from '../core/errors.ts';
import { crc32c } from './crc32c.ts';

const LENGTH_AT = 8;
const AFTER_LENGTH = 12;
const MAGIC_AT = 16;
const CRC_AT = 17;
const ATTRIBUTES_AT = 21;
const COUNT_AT = 57;
const HEADER_BYTES = 61;
const MAGIC = 2;

const CODEC_MASK = 0x07;
const GZIP = 1;
const LOG_APPEND_TIME = 0x08;
const CONTROL = 0x20;

/** Attributes, timestamp delta and the number of headers, each in one byte as all are zero. */
const FIXED_RECORD_BYTES = 3;
const MAX_VARINT_BYTES = 5;
const INITIAL_BYTES = 4096;

export interface IncomingRecord {
  readonly offset: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** Milliseconds since the Unix epoch. */
  readonly timestampMs: number;
}

/** Who writes a batch, for the broker to refuse it twice or out of order. */
export interface ProducerStamp {
  readonly producerId: bigint;
  readonly producerEpoch: number;
  readonly firstSequence: number;
}

/** An upper bound of the size of a batch that holds this record alone. */
export function batchBytesOf(keyBytes: number, valueBytes: number): number {
  return HEADER_BYTES + FIXED_RECORD_BYTES + 4 * MAX_VARINT_BYTES + keyBytes + valueBytes;
}

export class RecordBatchWriter {
  #buffer: Buffer = Buffer.allocUnsafe(INITIAL_BYTES);
  #length = HEADER_BYTES;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#length;
  }

  /** `key` is used up to `keyBytes`; `valueBytes` is the length of `value` in UTF-8. */
  append(key: Buffer, keyBytes: number, value: string | null, valueBytes: number): void {
    this.#reserve(batchBytesOf(keyBytes, valueBytes));
    const size =
      FIXED_RECORD_BYTES +
      varintBytes(this.#count) +
      varintBytes(keyBytes) +
      keyBytes +
      varintBytes(value === null ? -1 : valueBytes) +
      valueBytes;
    const buffer = this.#buffer;
    let at = writeVarint(buffer, this.#length, size);
    buffer[at++] = 0;
    buffer[at++] = 0;
    at = writeVarint(buffer, at, this.#count);
    at = writeVarint(buffer, at, keyBytes);
    at += key.copy(buffer, at, 0, keyBytes);
    if (value === null) {
      at = writeVarint(buffer, at, -1);
    } else {
      at = writeVarint(buffer, at, valueBytes);
      at += buffer.write(value, at, valueBytes, 'utf8');
    }
    buffer[at++] = 0;
    this.#length = at;
    this.#count++;
  }

  /** The finished batch; the writer is spent. */
  finish(stamp: ProducerStamp, timestampMs: number): Buffer {
    const batch = this.#buffer.subarray(0, this.#length);
    const timestamp = BigInt(timestampMs);
    batch.writeBigInt64BE(0n, 0);
    batch.writeInt32BE(this.#length - AFTER_LENGTH, LENGTH_AT);
    batch.writeInt32BE(-1, 12);
    batch.writeInt8(MAGIC, MAGIC_AT);
    batch.writeInt16BE(0, ATTRIBUTES_AT);
    batch.writeInt32BE(this.#count - 1, 23);
    batch.writeBigInt64BE(timestamp, 27);
    batch.writeBigInt64BE(timestamp, 35);
    batch.writeBigInt64BE(stamp.producerId, 43);
    batch.writeInt16BE(stamp.producerEpoch, 51);
    batch.writeInt32BE(stamp.firstSequence, 53);
    batch.writeInt32BE(this.#count, COUNT_AT);
    batch.writeUInt32BE(crc32c(batch, ATTRIBUTES_AT, this.#length), CRC_AT);
    return batch;
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

export interface DecodedBatches {
  readonly records: readonly IncomingRecord[];
  /** Where the next fetch starts: behind the last whole batch, whatever compaction has left of it. */
  readonly next: bigint;
}

/**
 * Reads the batches of one fetch from `from` on. The first batch may begin before `from`, and the last may be cut off.
 * Throws KAFKA_FAILED on a damaged or compressed (other than gzip) batch.
 */
export function decodeBatches(bytes: Buffer, from: bigint): DecodedBatches {
  const records: IncomingRecord[] = [];
  let next = from;
  for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
    const end = at + AFTER_LENGTH + bytes.readInt32BE(at + LENGTH_AT);
    if (end > bytes.length) break;
    const base = bytes.readBigInt64BE(at);
    if (bytes.readInt8(at + MAGIC_AT) !== MAGIC)
      throw unreadable(base, 'is in a format from before Kafka 0.11');
    if (crc32c(bytes, at + ATTRIBUTES_AT, end) !== bytes.readUInt32BE(at + CRC_AT)) {
      throw unreadable(base, 'is damaged: its checksum does not match');
    }
    const attributes = bytes.readInt16BE(at + ATTRIBUTES_AT);
    if ((attributes & CONTROL) === 0) {
      const times = attributes & LOG_APPEND_TIME;
      const header = {
        base,
        count: bytes.readInt32BE(at + COUNT_AT),
        firstTimestampMs: Number(bytes.readBigInt64BE(at + 27)),
        appendTimestampMs: times === 0 ? null : Number(bytes.readBigInt64BE(at + 35)),
      };
      decodeRecords(
        uncompressed(bytes.subarray(at + HEADER_BYTES, end), attributes, base),
        header,
        from,
        records,
      );
    }
    const last = base + BigInt(bytes.readInt32BE(at + 23));
    if (last >= next) next = last + 1n;
    at = end;
  }
  return { records, next };
}

function uncompressed(body: Buffer, attributes: number, base: bigint): Buffer {
  const codec = attributes & CODEC_MASK;
  if (codec === 0) return body;
  if (codec === GZIP) return gunzipSync(body);
  throw unreadable(
    base,
    'is compressed in a way that is not supported: set compression.type=producer on the topic',
  );
}

interface BatchHeader {
  readonly base: bigint;
  readonly count: number;
  readonly firstTimestampMs: number;
  readonly appendTimestampMs: number | null;
}

function decodeRecords(body: Buffer, header: BatchHeader, from: bigint, records: IncomingRecord[]): void {
  const cursor = { at: 0 };
  for (let i = 0; i < header.count; i++) {
    const size = readVarint(body, cursor);
    const end = cursor.at + size;
    cursor.at++;
    const timestampDelta = readVarint(body, cursor);
    const offset = header.base + BigInt(readVarint(body, cursor));
    if (offset >= from) {
      const key = readBytes(body, cursor);
      const value = readBytes(body, cursor);
      const timestampMs = header.appendTimestampMs ?? header.firstTimestampMs + timestampDelta;
      records.push({ offset, key, value, timestampMs });
    }
    cursor.at = end;
  }
}

function readBytes(body: Buffer, cursor: { at: number }): Buffer | null {
  const length = readVarint(body, cursor);
  if (length < 0) return null;
  const bytes = body.subarray(cursor.at, cursor.at + length);
  cursor.at += length;
  return bytes;
}

/** Zigzag and base 128, least significant group first; beyond 31 bits (timestamps) by multiplication. */
function readVarint(body: Buffer, cursor: { at: number }): number {
  let byte = body[cursor.at++] ?? 0;
  if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1);
  let value = byte & 0x7f;
  let scale = 0x80;
  do {
    byte = body[cursor.at++] ?? 0;
    value += (byte & 0x7f) * scale;
    scale *= 0x80;
  } while (byte >= 0x80);
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

/** For numbers that fit 31 bits. */
function writeVarint(buffer: Buffer, at: number, value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  while (rest >= 0x80) {
    buffer[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  buffer[at++] = rest;
  return at;
}

function varintBytes(value: number): number {
  const rest = ((value << 1) ^ (value >> 31)) >>> 0;
  return rest < 0x80 ? 1 : rest < 0x4000 ? 2 : rest < 0x200000 ? 3 : rest < 0x10000000 ? 4 : 5;
}

function unreadable(offset: bigint, how: string): AppError {
  return new AppError('KAFKA_FAILED', `The record batch at offset ${offset} ${how}.`, {
    context: { offset },
  });
}
