/**
 * A whole topic from its start to where it ends at the time of the call: for the small topics that are our memory
 * (control, dead letters). Needs no consumer group, so it takes some tens of milliseconds and leaves nothing behind.
 */
import { AppError } from '../core/errors.ts';
import type { KafkaClient } from './client.ts';
import type { Cluster } from './cluster.ts';
import { wrapKafka } from './errors.ts';
import { offsetRanges } from './offsets.ts';
import { decodeBatches, type IncomingRecord } from './record-batch.ts';
import { fetchRequest, NONE, protocolError } from './wire.ts';

const FETCH = { maxWaitMs: 500, maxBytes: 8 * 1024 * 1024 };

/** Records of one partition come in order. Rejects with KAFKA_TOPIC if the topic is missing. */
export async function* readTopic(
  kafka: KafkaClient,
  topic: string,
  signal: AbortSignal,
): AsyncGenerator<readonly IncomingRecord[]> {
  const connection = await kafka.connect({ topics: [topic] }).catch((error: unknown) => {
    throw wrapKafka(error, `read topic ${topic}`, { topic });
  });
  try {
    for (const { partition, low, end } of await offsetRanges(connection.cluster, [topic])) {
      for (let from = low; from < end;) {
        signal.throwIfAborted();
        const { records, next } = await fetchOnce(connection.cluster, { topic, partition, offset: from });
        // Nothing for half a second, though the topic goes on: its leader has moved.
        if (next === from)
          throw new AppError('KAFKA_UNREACHABLE', `Topic ${topic} could not be read to its end.`);
        yield records;
        from = next;
      }
    }
  } catch (error) {
    throw wrapKafka(error, `read topic ${topic}`, { topic });
  } finally {
    await connection.close();
  }
}

async function fetchOnce(
  cluster: Cluster,
  from: { readonly topic: string; readonly partition: number; readonly offset: bigint },
): Promise<{ records: readonly IncomingRecord[]; next: bigint }> {
  const [nodeId = ''] = Object.keys(cluster.findLeaderForPartitions(from.topic, [from.partition]));
  const broker = await cluster.findBroker({ nodeId });
  const request = fetchRequest([{ ...from, maxBytes: FETCH.maxBytes }], FETCH);
  const { results } = await broker.connectionPool.send(request);
  const [result] = results;
  if (result === undefined) return { records: [], next: from.offset };
  if (result.errorCode !== NONE) throw protocolError(result.errorCode);
  return decodeBatches(result.batches, from.offset);
}
