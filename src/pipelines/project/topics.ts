/** What the projector reads: the topics that the publisher has made, and whether they still are what was recorded (I8). */
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../../core/errors.ts';
import type { Mapping } from '../../core/mapping.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import { type ControlState, readControlIfAny, type SourceRecord } from '../../kafka/control.ts';
import { requireRecordedTopics } from '../../kafka/topic-ids.ts';
import type { Graph } from '../../neo4j/client.ts';
import { adoptRecovery, ensureProgress, readProgress } from '../../neo4j/progress.ts';
import type { Log } from '../../runtime/log.ts';
import { missedRecovery } from '../fit.ts';

export interface Topics {
  /** By topic. */
  readonly generations: ReadonlyMap<string, string>;
  readonly source: SourceRecord | null;
  /** The last one, finished or not. */
  readonly recovery: ControlState['recovery'];
}

const POLL_MS = 500;

/** Resolves once there is a record of all of them. Throws KAFKA_TOPIC_CHANGED if Kafka has others by now. */
export async function madeByPublisher(
  mapping: Mapping,
  client: KafkaClient,
  log: Log,
  signal: AbortSignal,
): Promise<Topics> {
  const names = mapping.tables.map(({ topic }) => topic);
  for (let attempt = 1; ; attempt++) {
    const state = await readControlIfAny(client, mapping.controlTopic, signal);
    const missing = names.filter((topic) => state?.topics.has(topic) !== true);
    if (state !== null && missing.length === 0) {
      const generations = await requireRecordedTopics(client, state.topics, names);
      return { generations, source: state.source, recovery: state.recovery };
    }
    if (attempt === 1) log.info({ topics: missing }, 'waiting for the publisher to make the topics');
    await delay(POLL_MS, undefined, { signal });
  }
}

/**
 * A progress row for every partition, as the topics are now. Throws PROGRESS_GAP if the graph stood aside while a recovery
 * was begun and finished, and has been where that began.
 */
export async function prepareProgress(
  graph: Graph,
  mapping: Mapping,
  { generations, recovery }: Topics,
  log: Log,
): Promise<void> {
  await ensureProgress(graph, mapping, generations);
  if (recovery === null) return;
  if (recovery.finishedAt !== null) {
    const rows = (await readProgress(graph, mapping)).filter(
      ({ topic, generation }) => generations.get(topic) === generation,
    );
    const [missed] = rows.flatMap((row) => missedRecovery(row, recovery) ?? []);
    if (missed !== undefined)
      throw new AppError('PROGRESS_GAP', `The graph has missed a recovery: ${missed}.`);
    return;
  }
  const adopted = await adoptRecovery(graph, mapping, generations, recovery);
  if (adopted > 0)
    log.warn({ partitions: adopted, epoch: recovery.epoch }, 'progress goes on where the recovery began');
}
