/**
 * What a compacted topic says at the time of the call: the last value of each key. For the small topics that are our
 * memory (control, dead letters). Needs no consumer group, so it takes some tens of milliseconds and leaves nothing behind.
 */
import { AppError } from '../core/errors.ts';
import type { KafkaClient } from './client.ts';
import type { Cluster } from './cluster.ts';
import { wrapKafka } from './errors.ts';
import { offsetRanges } from './offsets.ts';
import { type DecodedBatches, decodeBatches } from './record-batch.ts';
import { fetchRequest, NONE, protocolError, type TopicPartition } from './wire.ts';

const LIMITS = { maxWaitMs: 500, maxBytes: 8 * 1024 * 1024 };

/** Rejects with KAFKA_TOPIC if the topic is missing, KAFKA_UNREACHABLE if it cannot be read to its end now. */
export async function readLatest(
  kafka: KafkaClient,
  topic: string,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Buffer>> {
  try {
    const connection = await kafka.connect({ topics: [topic] });
    try {
      const latest = new Map<string, Buffer>();
      for (const { partition, low, end } of await offsetRanges(connection.cluster, [topic])) {
        for (let at = low; at < end;) {
          const fetched = await connection.promptly(
            fetch(connection.cluster, { topic, partition }, at),
            signal,
          );
          signal.throwIfAborted();
          // Nothing, though the partition goes on: its leader has moved.
          if (fetched.next === at)
            throw new AppError('KAFKA_UNREACHABLE', `Topic ${topic} cannot be read to its end.`);
          for (const { key, value } of fetched.records) {
            const name = key?.toString() ?? '';
            if (value === null) latest.delete(name);
            else latest.set(name, value);
          }
          at = fetched.next;
        }
      }
      return latest;
    } finally {
      await connection.close();
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw wrapKafka(error, `read topic ${topic}`, { topic });
  }
}

async function fetch(cluster: Cluster, from: TopicPartition, offset: bigint): Promise<DecodedBatches> {
  const [nodeId = ''] = Object.keys(cluster.findLeaderForPartitions(from.topic, [from.partition]));
  const broker = await cluster.findBroker({ nodeId });
  const request = fetchRequest([{ ...from, offset, maxBytes: LIMITS.maxBytes }], LIMITS);
  const { results } = await broker.connectionPool.send(request);
  const [result] = results;
  if (result === undefined) return { records: [], next: offset };
  if (result.errorCode !== NONE) throw protocolError(result.errorCode);
  return decodeBatches(result.batches, offset);
}
