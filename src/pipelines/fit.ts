/**
 * Does the graph's progress fit the topics (I8)? Progress in another topic of the same name, or outside of what the topic
 * holds, says nothing of what the graph has: it counts neither as caught up nor as behind.
 */
import type { PartitionRange } from '../kafka/offsets.ts';
import type { PartitionProgress } from '../neo4j/progress.ts';

export interface Topics {
  /** By topic, as the publisher has recorded them; one that it has not is not judged. */
  readonly generations: ReadonlyMap<string, string>;
  readonly ranges: readonly PartitionRange[];
  /** Of a recovery that is not finished; null: there is none. */
  readonly recoveryEpoch: number | null;
}

export interface Misfit {
  readonly topic: string;
  /** For people. */
  readonly why: string;
  /** The recovery began after it: the next projector that starts adopts it. */
  readonly passing: boolean;
}

/** `progress` was read before `topics`: a projector at work goes on. */
export function misfits(
  progress: readonly PartitionProgress[],
  { generations, ranges, recoveryEpoch }: Topics,
): Misfit[] {
  const known = new Map(ranges.map((range) => [`${range.topic}-${range.partition}`, range]));
  return progress.flatMap(({ topic, partition, next, generation, epoch }) => {
    const recorded = generations.get(topic);
    if (recorded === undefined) return [];
    const passing = recoveryEpoch !== null && epoch < recoveryEpoch;
    if (generation !== recorded)
      return [{ topic, why: `the graph knows another topic ${topic}, partition ${partition}`, passing }];
    const range = known.get(`${topic}-${partition}`);
    if (range === undefined || (next >= range.low && next <= range.end)) return [];
    const { low, end } = range;
    const why = `the graph goes on at offset ${next} of ${topic}-${partition}, which holds ${low} up to ${end}`;
    return [{ topic, why, passing }];
  });
}
