/**
 * Records to Kafka, durable when `send` resolves, each once, and per partition in the order of the calls:
 *
 *     send ─▶ partition by key ─▶ one batch per partition, ~1 MB together ─▶ flight (acks = all) ─▶ landed
 *
 * On failure: what Kafka calls retriable is sent again for 30 s, or until `signal` says that it is of no use. Then, or on any other error, the publisher is spent:
 * everything outstanding and every later `send` rejects with that one error, for nothing may overtake what was lost. The
 * caller starts over from what it has acknowledged. The exception is a record above `maxRecordBytes`: its call is refused
 * before anything of it is sent, and the publisher goes on.
 */
import { AppError } from '../core/errors.ts';
import { createWrittenEnds } from '../core/topic-ends.ts';
import type { Log } from '../runtime/log.ts';
import type { KafkaClient } from './client.ts';
import { type FlightOptions, Flights } from './flights.ts';
import { partitionOf } from './partitioner.ts';
import { batchBytesOf, RecordBatchWriter } from './record-batch.ts';
import type { ProducePartition } from './wire.ts';

export interface OutgoingRecord {
  readonly topic: string;
  /** Absent: by the hash of the key, as every Kafka client does it. */
  readonly partition?: number;
  readonly key: string;
  /** In a compacted topic null removes the key. */
  readonly value: string | null;
}

export interface PublisherOptions extends Partial<FlightOptions> {
  readonly topics: readonly string[];
  /** The smallest max.message.bytes of the topics. */
  readonly maxRecordBytes?: number;
}

export interface Publisher {
  /** Calls may overlap. Rejects with KAFKA_RECORD_TOO_LARGE (`context.index` in `records`) if one can never be sent. */
  readonly send: (records: readonly OutgoingRecord[]) => Promise<void>;
  /** Waits for what is on the way. */
  readonly close: () => Promise<void>;
}

const DEFAULTS = {
  maxRecordBytes: 20 * 1024 * 1024,
  maxInFlight: 4,
  retryForMs: 30_000,
  signal: new AbortController().signal,
};
const FLIGHT_BYTES = 1024 * 1024;
const MAX_SEQUENCE = 0x7fff_ffff;
/** Of UTF-8, for one unit of a JavaScript string. */
const MAX_BYTES_PER_UNIT = 3;

interface Partition {
  readonly topic: string;
  readonly partition: number;
  nextSequence: number;
}

/** Rejects with KAFKA_TOPIC if one of the topics is missing. */
export async function createPublisher(
  kafka: KafkaClient,
  options: PublisherOptions,
  log: Log,
): Promise<Publisher> {
  const { maxRecordBytes, ...settings } = { ...DEFAULTS, written: createWrittenEnds({}), ...options };
  const flights = new Flights(kafka, settings, log);
  const { producerId, producerEpoch, partitions: counts } = await flights.open();
  const topics = new Map(
    [...counts].map(([topic, count]) => [topic, Array.from({ length: count }, newPartition(topic))]),
  );
  let keyBytes = Buffer.allocUnsafe(1024);
  let turn: Promise<unknown> = Promise.resolve();

  function refuseOversized(records: readonly OutgoingRecord[]): void {
    for (const [index, { topic, key, value }] of records.entries()) {
      const units = key.length + (value?.length ?? 0);
      if (units * MAX_BYTES_PER_UNIT < maxRecordBytes - batchBytesOf(0, 0)) continue;
      const sizeBytes = batchBytesOf(Buffer.byteLength(key), value === null ? 0 : Buffer.byteLength(value));
      if (sizeBytes <= maxRecordBytes) continue;
      throw new AppError(
        'KAFKA_RECORD_TOO_LARGE',
        `A record for topic ${topic} has ${sizeBytes} bytes, more than the ${maxRecordBytes} that Kafka takes.`,
        { context: { topic, index, sizeBytes, maxRecordBytes } },
      );
    }
  }

  /** Encodes and launches; the next call may do so when this one has. */
  async function launch(records: readonly OutgoingRecord[]): Promise<Promise<void>[]> {
    const landings: Promise<void>[] = [];
    let writers = new Map<Partition, RecordBatchWriter>();
    let bytes = 0;
    async function takeOff(): Promise<void> {
      const { landed } = await flights.launch([...writers].map(finish));
      landings.push(landed);
      writers = new Map();
      bytes = 0;
    }
    for (const record of records) {
      const keyLength = Buffer.byteLength(record.key);
      if (keyLength > keyBytes.length) keyBytes = Buffer.allocUnsafe(keyLength * 2);
      keyBytes.write(record.key);
      const valueLength = record.value === null ? 0 : Buffer.byteLength(record.value);
      const size = batchBytesOf(keyLength, valueLength);
      if (bytes > 0 && bytes + size > FLIGHT_BYTES) await takeOff();
      bytes += size;
      const partition = partitionFor(record, keyLength);
      let writer = writers.get(partition);
      if (writer === undefined) writers.set(partition, (writer = new RecordBatchWriter()));
      writer.append(keyBytes, keyLength, record.value, valueLength);
    }
    if (bytes > 0) await takeOff();
    return landings;
  }

  function partitionFor({ topic, partition }: OutgoingRecord, keyLength: number): Partition {
    const partitions = topics.get(topic) ?? [];
    const found = partitions[partition ?? partitionOf(keyBytes, keyLength, partitions.length)];
    if (found === undefined) {
      throw new AppError('KAFKA_TOPIC', `Topic ${topic} has no partition ${partition ?? 'at all'}.`);
    }
    return found;
  }

  function finish([partition, writer]: [Partition, RecordBatchWriter]): ProducePartition {
    const firstSequence = partition.nextSequence;
    partition.nextSequence = sequenceAfter(firstSequence, writer.count);
    const batch = writer.finish({ producerId, producerEpoch, firstSequence }, Date.now());
    return { topic: partition.topic, partition: partition.partition, batch, records: writer.count };
  }

  return {
    async send(records) {
      refuseOversized(records);
      const launched = turn.then(() => launch(records));
      turn = launched.catch(() => undefined);
      await Promise.all(await launched);
    },
    async close() {
      await turn;
      await flights.close();
    },
  };
}

function newPartition(topic: string): (_: unknown, partition: number) => Partition {
  return (_, partition) => ({ topic, partition, nextSequence: 0 });
}

/** Kafka's sequence numbers are 31 bits and start again from 0. */
export function sequenceAfter(sequence: number, count: number): number {
  const left = MAX_SEQUENCE - sequence;
  return count <= left ? sequence + count : count - left - 1;
}
