/** Records that Kafka had answered for, and does not have any more: the end of a partition was cut off (I6). */
import { AppError } from '../core/errors.ts';
import { lostEnds, type TopicEnds } from '../core/topic-ends.ts';
import { every } from '../runtime/every.ts';
import type { KafkaClient } from './client.ts';
import { offsetRanges } from './offsets.ts';
import { changedTopics, topicIds } from './topic-ids.ts';

const WATCH_EVERY_MS = 5_000;

/** `context.reason` is the reason, for people. */
export function recordsLost(reason: string): AppError {
  return new AppError('KAFKA_TOPIC_CHANGED', `Kafka has lost records: ${reason}.`, { context: { reason } });
}

/** As `lostEnds`, of these topics as they are now; all of them exist. */
export async function lookForLostEnds(
  kafka: KafkaClient,
  topics: readonly string[],
  recorded: TopicEnds,
): Promise<string[]> {
  const connection = await kafka.connect({ topics });
  try {
    return lostEnds(recorded, await offsetRanges(connection.cluster, topics));
  } finally {
    await connection.close();
  }
}

/**
 * Runs until the signal. Throws KAFKA_TOPIC_CHANGED at the second look that finds records lost: one may have asked a
 * broker that does not know yet that it leads no more. Of a topic that was made again others tell: `expected` are ids.
 */
export async function watchEnds(
  kafka: KafkaClient,
  expected: ReadonlyMap<string, string>,
  written: () => TopicEnds,
  signal: AbortSignal,
  everyMs = WATCH_EVERY_MS,
): Promise<void> {
  const look = async () => {
    const recorded = written();
    const topics = Object.keys(recorded).filter((topic) => expected.has(topic));
    const lost = await lookForLostEnds(kafka, topics, recorded);
    const remade = lost.length > 0 && changedTopics(expected, await topicIds(kafka, [...expected.keys()]));
    return remade === false || remade.gone.length + remade.remade.length > 0 ? [] : lost;
  };
  let lostBefore = false;
  await every(everyMs, signal, async () => {
    // Whoever needs Kafka for what it does waits for it, or fails by it.
    const lost = await look().catch(() => null);
    if (lost === null) return;
    if (lost.length > 0 && lostBefore) throw recordsLost(lost.join('; '));
    lostBefore = lost.length > 0;
  });
}
