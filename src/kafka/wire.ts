/** Produce and fetch, as sent through kafkajs's connections (https://kafka.apache.org/protocol). Kafka 2.1 and newer. */
import type { WireRequest } from './cluster.ts';
import { createErrorFromCode } from './kafkajs.ts';

const PRODUCE = { apiKey: 0, apiVersion: 7, apiName: 'Produce' } as const;
const FETCH = { apiKey: 1, apiVersion: 10, apiName: 'Fetch' } as const;

const ALL_IN_SYNC_REPLICAS = -1;
const READ_UNCOMMITTED = 0;

export const NONE = 0;
export const OFFSET_OUT_OF_RANGE = 1;
export const UNKNOWN_TOPIC_OR_PARTITION = 3;
export const DUPLICATE_SEQUENCE_NUMBER = 46;

/** kafkajs's error for one of Kafka's codes, for `wrapKafka`. */
export function protocolError(code: number): Error {
  return createErrorFromCode(code);
}

export interface Answer<P> {
  readonly results: readonly P[];
  /** For kafkajs, which then holds back what follows. */
  readonly clientSideThrottleTime: number;
}

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

export interface ProducePartition extends TopicPartition {
  /** One record batch. */
  readonly batch: Buffer;
  readonly records: number;
}

export interface ProduceResult extends TopicPartition {
  readonly errorCode: number;
  /** Of the batch's first record; -1 if it is not known. */
  readonly baseOffset: bigint;
}

/** At most one batch per partition. `timeoutMs`: how long the broker may wait for its replicas. */
export function produceRequest(
  partitions: readonly ProducePartition[],
  timeoutMs: number,
): WireRequest<Answer<ProduceResult>> {
  return wireRequest<ProduceResult>(PRODUCE, encodeProduce(partitions, timeoutMs), (reader) => {
    const results = reader.topicPartitions((topic) => {
      const partition = reader.int32();
      const errorCode = reader.int16();
      const baseOffset = reader.int64();
      reader.skip(16);
      return { topic, partition, errorCode, baseOffset };
    });
    return { results, clientSideThrottleTime: reader.int32() };
  });
}

function encodeProduce(partitions: readonly ProducePartition[], timeoutMs: number): Buffer {
  const writer = new Writer();
  writer.int16(-1).int16(ALL_IN_SYNC_REPLICAS).int32(timeoutMs);
  writer.topicPartitions(partitions, ({ partition, batch }) => {
    writer.int32(partition).int32(batch.length).bytes(batch);
  });
  return writer.finish();
}

export interface FetchPartition extends TopicPartition {
  readonly offset: bigint;
  readonly maxBytes: number;
}

export interface FetchResult extends TopicPartition {
  readonly errorCode: number;
  /** A copy of its own: a slow partition must not hold the answer for all others in memory. */
  readonly batches: Buffer;
}

/** The broker answers at once if it has anything, else after `maxWaitMs`. */
export function fetchRequest(
  partitions: readonly FetchPartition[],
  limits: { readonly maxWaitMs: number; readonly maxBytes: number },
): WireRequest<Answer<FetchResult>> {
  return wireRequest<FetchResult>(FETCH, encodeFetch(partitions, limits), (reader) => {
    const clientSideThrottleTime = reader.int32();
    reader.skip(6);
    const results = reader.topicPartitions((topic) => {
      const partition = reader.int32();
      const errorCode = reader.int16();
      reader.skip(24);
      reader.skip(16 * Math.max(reader.int32(), 0));
      const batches = Buffer.from(reader.bytes(Math.max(reader.int32(), 0)));
      return { topic, partition, errorCode, batches };
    });
    return { results, clientSideThrottleTime };
  });
}

function encodeFetch(
  partitions: readonly FetchPartition[],
  { maxWaitMs, maxBytes }: { readonly maxWaitMs: number; readonly maxBytes: number },
): Buffer {
  const writer = new Writer();
  writer.int32(-1).int32(maxWaitMs).int32(1).int32(maxBytes).int8(READ_UNCOMMITTED);
  // No fetch session: each request names all it wants.
  writer.int32(0).int32(-1);
  writer.topicPartitions(partitions, ({ partition, offset, maxBytes: limit }) => {
    writer.int32(partition).int32(-1).int64(offset).int64(-1n).int32(limit);
  });
  return writer.int32(0).finish();
}

export function wireRequest<P>(
  api: { readonly apiKey: number; readonly apiVersion: number; readonly apiName: string },
  body: Buffer,
  decode: (reader: Reader) => Answer<P>,
): WireRequest<Answer<P>> {
  return {
    request: { ...api, encode: () => Promise.resolve({ buf: body, buffer: body }) },
    response: {
      decode: (payload) => Promise.resolve(decode(new Reader(payload))),
      parse: (decoded) => Promise.resolve(decoded),
    },
  };
}

export class Writer {
  readonly #parts: Buffer[] = [];

  int8(value: number): this {
    return this.#add(1, (b) => b.writeInt8(value));
  }

  int16(value: number): this {
    return this.#add(2, (b) => b.writeInt16BE(value));
  }

  int32(value: number): this {
    return this.#add(4, (b) => b.writeInt32BE(value));
  }

  int64(value: bigint): this {
    return this.#add(8, (b) => b.writeBigInt64BE(value));
  }

  bytes(value: Buffer): this {
    this.#parts.push(value);
    return this;
  }

  /** Unsigned, in groups of seven bits, the lowest first: lengths in the flexible versions of Kafka's requests. */
  varint(value: number): this {
    let rest = value;
    for (; rest > 0x7f; rest >>>= 7) this.int8((rest & 0x7f) - 0x80);
    return this.int8(rest);
  }

  /** Partitions grouped by topic, as all of Kafka's requests have them. */
  topicPartitions<P extends TopicPartition>(partitions: readonly P[], write: (partition: P) => void): void {
    const byTopic = new Map<string, P[]>();
    for (const partition of partitions) {
      const known = byTopic.get(partition.topic);
      if (known === undefined) byTopic.set(partition.topic, [partition]);
      else known.push(partition);
    }
    this.int32(byTopic.size);
    for (const [topic, own] of byTopic) {
      const name = Buffer.from(topic);
      this.int16(name.length).bytes(name).int32(own.length);
      own.forEach(write);
    }
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #add(size: number, write: (buffer: Buffer) => void): this {
    const buffer = Buffer.allocUnsafe(size);
    write(buffer);
    return this.bytes(buffer);
  }
}

export class Reader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  int16(): number {
    return this.#buffer.readInt16BE(this.#advance(2));
  }

  int32(): number {
    return this.#buffer.readInt32BE(this.#advance(4));
  }

  int64(): bigint {
    return this.#buffer.readBigInt64BE(this.#advance(8));
  }

  varint(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.#buffer.readUInt8(this.#advance(1));
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  bytes(length: number): Buffer {
    const start = this.#advance(length);
    return this.#buffer.subarray(start, start + length);
  }

  skip(length: number): void {
    this.#advance(length);
  }

  topicPartitions<P>(read: (topic: string) => P): P[] {
    const found: P[] = [];
    for (let topics = this.int32(); topics > 0; topics--) {
      const topic = this.bytes(this.int16()).toString();
      for (let partitions = this.int32(); partitions > 0; partitions--) found.push(read(topic));
    }
    return found;
  }

  #advance(length: number): number {
    const start = this.#at;
    this.#at += length;
    return start;
  }
}
