/**
 * What a compacted topic says at the time of the call: the last value of each key, of the small topics that are our
 * memory (control, dead letters), or how each partition ends. Needs no consumer group, so it takes some tens of
 * milliseconds and leaves nothing behind.
 */
import { AppError } from '../core/errors.ts';
import type { KafkaClient } from './client.ts';
import type { Cluster } from './cluster.ts';
import { wrapKafka } from './errors.ts';
import { fetchPartition } from './fetch-partition.ts';
import { offsetRanges, type PartitionRange } from './offsets.ts';
import { type DecodedBatches, decodeBatches, type IncomingRecord } from './record-batch.ts';
import { NONE, protocolError, type TopicPartition } from './wire.ts';

const LIMITS = { maxWaitMs: 500, maxBytes: 8 * 1024 * 1024 };

/**
 * `keep` makes of each value what is held of it. Rejects with KAFKA_TOPIC if the topic is missing, KAFKA_UNREACHABLE if it
 * cannot be read to its end now, or by the deadline that `signal` is, and with what `keep` throws.
 */
export async function readLatest<T>(
  kafka: KafkaClient,
  topic: string,
  signal: AbortSignal,
  keep: (value: Buffer) => T,
): Promise<ReadonlyMap<string, T>> {
  const latest = new Map<string, T>();
  await read(
    kafka,
    topic,
    signal,
    ({ low }) => low,
    ({ key, value }) => {
      const name = key?.toString() ?? '';
      if (value === null) latest.delete(name);
      else latest.set(name, keep(value));
    },
  );
  return latest;
}

/** The last record of each partition that has any, which compaction always keeps. Rejects as `readLatest`. */
export async function readLast(
  kafka: KafkaClient,
  topic: string,
  signal: AbortSignal,
): Promise<readonly IncomingRecord[]> {
  const last: IncomingRecord[] = [];
  await read(
    kafka,
    topic,
    signal,
    ({ low, end }) => (end > low ? end - 1n : low),
    (record) => last.push(record),
  );
  return last;
}

/** Each partition from an offset of its range to its end. */
async function read(
  kafka: KafkaClient,
  topic: string,
  signal: AbortSignal,
  from: (range: PartitionRange) => bigint,
  onRecord: (record: IncomingRecord) => void,
): Promise<void> {
  try {
    const connection = await kafka.connect({ topics: [topic], signal });
    try {
      const ranges = await connection.promptly(offsetRanges(connection.cluster, [topic]), signal);
      for (const range of ranges) {
        for (let at = from(range); at < range.end;) {
          const fetched = await connection.promptly(fetch(connection.cluster, range, at), signal);
          signal.throwIfAborted();
          // Nothing, though the partition goes on: its leader has moved.
          if (fetched.next === at)
            throw new AppError('KAFKA_UNREACHABLE', `Topic ${topic} cannot be read to its end.`);
          for (const record of fetched.records) onRecord(record);
          at = fetched.next;
        }
      }
    } finally {
      await connection.close();
    }
  } catch (error) {
    if (signal.aborted) throw reasonOf(signal, topic);
    throw wrapKafka(error, `read topic ${topic}`, { topic });
  }
}

function reasonOf({ reason }: AbortSignal, topic: string): unknown {
  const late = reason instanceof DOMException && reason.name === 'TimeoutError';
  if (!late) return reason;
  const message = `Kafka does not answer: topic ${topic} could not be read in time.`;
  return new AppError('KAFKA_UNREACHABLE', message, { cause: reason });
}

async function fetch(cluster: Cluster, from: TopicPartition, offset: bigint): Promise<DecodedBatches> {
  const result = await fetchPartition(cluster, from, offset, LIMITS);
  if (result === undefined) return { records: [], next: offset };
  if (result.errorCode !== NONE) throw protocolError(result.errorCode);
  return decodeBatches(result.batches, offset);
}
