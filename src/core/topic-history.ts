/**
 * Does a topic still tell the whole history of its table, so that a graph can be built from it? A pure decision; every
 * reason is named. What it cannot see (a partition that was lost and filled again beyond its old end) the proof of the
 * rebuilt graph finds.
 */
import type { TableLoad } from './loads.ts';

export interface TopicFacts {
  readonly table: string;
  readonly topic: string;
  readonly cleanupPolicy: string | undefined;
  readonly partitions: readonly PartitionFacts[];
  readonly load: TableLoad['state'] | null;
  /** The table had rows before the ends of the topic were read, and all of them were in Kafka. */
  readonly hasRows: boolean;
}

export interface PartitionFacts {
  readonly partition: number;
  readonly low: bigint;
  readonly end: bigint;
  /** How far a graph has applied the same generation of the topic; null if none is known. */
  readonly reached: bigint | null;
}

/** Nothing, if it is complete. */
export function historyGaps({
  table,
  topic,
  cleanupPolicy,
  partitions,
  load,
  hasRows,
}: TopicFacts): string[] {
  const gaps: string[] = [];
  if (cleanupPolicy !== 'compact')
    gaps.push(`topic ${topic} has cleanup.policy=${cleanupPolicy ?? ''}, not compact: what is old expires`);
  if (load === 'skipped')
    gaps.push(`the rows of ${table} that are older than the slot were left out (--no-initial-load)`);
  for (const { partition, low, end, reached } of partitions) {
    if (low > 0n) gaps.push(`${topic}-${partition} begins at offset ${low}`);
    if (reached !== null && reached > end)
      gaps.push(
        `${topic}-${partition} ends at offset ${end}, though the graph has it up to ${reached}: it was recreated or lost records`,
      );
  }
  if (hasRows && partitions.every(({ end }) => end === 0n))
    gaps.push(`topic ${topic} is empty, though ${table} has rows`);
  return gaps;
}
