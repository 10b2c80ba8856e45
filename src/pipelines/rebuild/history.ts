/** Whether the topics have all that a graph is to be built from: read before anything is touched. */
import { AppError, isAppError } from '../../core/errors.ts';
import type { Mapping } from '../../core/mapping.ts';
import { historyGaps } from '../../core/topic-history.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import { readControlIfAny, type TopicRecord } from '../../kafka/control.ts';
import type { PartitionRange } from '../../kafka/offsets.ts';
import { requireRecordedTopics } from '../../kafka/topic-ids.ts';
import { describeTopics, differences, partitionRanges, withAdmin } from '../../kafka/topics.ts';
import type { PartitionProgress } from '../../neo4j/progress.ts';
import type { Sql } from '../../postgres/client.ts';
import { keyPage } from '../../postgres/key-pages.ts';

export interface HistorySources {
  readonly mapping: Mapping;
  readonly sql: Sql;
  readonly client: KafkaClient;
  /** Resolves once Kafka has everything that was committed before the call. */
  readonly published: () => Promise<void>;
  /** Of the graph that is to be replaced. */
  readonly progress: readonly PartitionProgress[];
}

export interface History {
  /** By topic. */
  readonly generations: ReadonlyMap<string, string>;
  readonly ranges: readonly PartitionRange[];
  /** The source's, before the ranges were read. */
  readonly epoch: number;
  readonly session: number;
  /** Why a graph cannot be built from the topics as they are; empty: it can. */
  readonly gaps: readonly string[];
}

/**
 * Throws KAFKA_TOPIC if a publisher has not made all topics, or not with the partitions that they have now, and
 * KAFKA_TOPIC_CHANGED if one is gone or was made again: publishing rows again heals neither.
 */
export async function readHistory(sources: HistorySources, signal: AbortSignal): Promise<History> {
  const { mapping, sql, client, published, progress } = sources;
  const names = mapping.tables.map(({ topic }) => topic);
  const state = await readControlIfAny(client, mapping.controlTopic, signal);
  const recorded = state?.topics ?? new Map<string, TopicRecord>();
  const unmade = names.filter((name) => !recorded.has(name));
  if (unmade.length > 0)
    throw new AppError('KAFKA_TOPIC', `No publisher has made the topics ${unmade.join(', ')} yet.`);
  const generations = await requireRecordedTopics(client, recorded, names).catch((error: unknown) => {
    throw isAppError(error, 'KAFKA_TOPIC_CHANGED') ? healedByRecoveryAlone(error) : error;
  });
  const described = await withAdmin(client, (admin) => describeTopics(admin, names));
  const { partitions } = mapping.source;
  const unfit = names.flatMap((topic) =>
    differences({ topic, partitions, configs: {} }, described.get(topic)),
  );
  if (unfit.length > 0) throw new AppError('KAFKA_TOPIC', unfit.join(' '));

  const filled = new Set<string>();
  for (const table of mapping.tables)
    if ((await keyPage(sql, table, null, 1, signal)) !== null) filled.add(table.table);
  await published();
  const ranges = await withAdmin(client, (admin) => partitionRanges(admin, names));
  const gaps = mapping.tables.flatMap(({ table, topic }) => {
    const generation = generations.get(topic);
    const reached = new Map(
      progress
        .filter((of) => of.topic === topic && of.generation === generation)
        .map(({ partition, next }) => [partition, next]),
    );
    return historyGaps({
      table,
      topic,
      cleanupPolicy: described.get(topic)?.configs.get('cleanup.policy'),
      partitions: ranges
        .filter((range) => range.topic === topic)
        .map((range) => ({ ...range, reached: reached.get(range.partition) ?? null })),
      load: state?.source?.loads[table]?.state ?? null,
      hasRows: filled.has(table),
    });
  });
  const { epoch = 0, session = 0 } = state?.source ?? {};
  return { generations, ranges, epoch, session, gaps };
}

/** The publisher stops at it, so that --republish would wait for ever. */
function healedByRecoveryAlone(cause: AppError): AppError {
  return new AppError(
    'KAFKA_TOPIC_CHANGED',
    `${cause.message} Nothing is built from them, with --republish neither, before graph recover has every row published ` +
      'again, which mends the graph in use as well; then the same rebuild goes on.',
    { cause },
  );
}
