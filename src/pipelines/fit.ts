/**
 * Does the graph's progress fit the topics (I8)? Progress in another topic of the same name, or outside of what the topic
 * holds, says nothing of what the graph has: it counts neither as caught up nor as behind. Nor does progress of a graph that
 * stood aside in a recovery, beyond where that began: other records had those offsets then.
 */
import type { RecoveryRecord } from '../kafka/control.ts';
import type { PartitionRange } from '../kafka/offsets.ts';
import type { PartitionProgress } from '../neo4j/progress.ts';

export interface Topics {
  /** By topic, as the publisher has recorded them; one that it has not is not judged. */
  readonly generations: ReadonlyMap<string, string>;
  readonly ranges: readonly PartitionRange[];
  /** The last one; null: there was none. */
  readonly recovery: Recovery | null;
}

export type Recovery = Pick<RecoveryRecord, 'epoch' | 'finishedAt' | 'ranges'>;

export interface Misfit {
  readonly topic: string;
  /** For people. */
  readonly why: string;
  /** The recovery began after it, and is not finished: the next projector that starts adopts it. */
  readonly passing: boolean;
}

/** `progress` was read before `topics`: a projector at work goes on. */
export function misfits(
  progress: readonly PartitionProgress[],
  { generations, ranges, recovery }: Topics,
): Misfit[] {
  const known = new Map(ranges.map((range) => [`${range.topic}-${range.partition}`, range]));
  return progress.flatMap((row) => {
    const { topic, partition, next, generation } = row;
    const recorded = generations.get(topic);
    if (recorded === undefined) return [];
    const passing = recovery !== null && recovery.finishedAt === null && row.epoch < recovery.epoch;
    if (generation !== recorded)
      return [{ topic, why: `the graph knows another topic ${topic}, partition ${partition}`, passing }];
    const range = known.get(`${topic}-${partition}`);
    if (range === undefined) return [];
    const { low, end } = range;
    if (next < low || next > end) {
      const why = `the graph goes on at offset ${next} of ${topic}-${partition}, which holds ${low} up to ${end}`;
      return [{ topic, why, passing }];
    }
    const why = missedRecovery(row, recovery);
    return why === null ? [] : [{ topic, why, passing }];
  });
}

/** For people; null: what the recovery had published again is ahead of the progress. */
export function missedRecovery(
  { topic, partition, next, epoch }: PartitionProgress,
  recovery: Recovery | null,
): string | null {
  if (recovery === null || epoch >= recovery.epoch) return null;
  const began = recovery.ranges.find((range) => range.topic === topic && range.partition === partition);
  if (began === undefined || next <= BigInt(began.end)) return null;
  return `the graph goes on at offset ${next} of ${topic}-${partition}, where the recovery of epoch ${recovery.epoch} began at ${began.end}`;
}
