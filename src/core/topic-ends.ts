/**
 * How far topics are known to be written, and whether they still go so far (I6). Kafka never gives an offset twice; if it
 * does, or a partition ends earlier than it did, records are lost that a graph may not have had. Pure.
 */

/** By topic, of each partition the offset behind the last record that Kafka has answered for, in decimal; 0: of none. */
export type TopicEnds = Readonly<Record<string, readonly string[]>>;

interface Partition {
  readonly topic: string;
  readonly partition: number;
}

export interface AnsweredBatch extends Partition {
  /** Grows with each batch of a partition, in the order in which they were sent first. */
  readonly turn: number;
  /** Of its first record. */
  readonly offset: bigint;
  readonly records: number;
}

export interface WrittenEnds {
  /** For people, why records are lost that stood before the batch; null: none are known to be. Answers come in any order. */
  readonly answered: (batch: AnsweredBatch) => string | null;
  readonly ends: () => TopicEnds;
}

export function createWrittenEnds(recorded: TopicEnds): WrittenEnds {
  const written = new Map(
    Object.entries(recorded).map(([topic, ends]) => [
      topic,
      ends.map((end) => ({ end: BigInt(end), turn: 0 })),
    ]),
  );

  function partitionOf({ topic, partition }: Partition): { end: bigint; turn: number } {
    const partitions = written.get(topic) ?? [];
    written.set(topic, partitions);
    while (partitions.length <= partition) partitions.push({ end: 0n, turn: 0 });
    return partitions[partition] ?? { end: 0n, turn: 0 };
  }

  return {
    answered(batch) {
      const known = partitionOf(batch);
      // One that was sent before the last one, and is answered after it, was there before.
      if (batch.turn < known.turn) return null;
      const { topic, partition, offset, turn } = batch;
      if (offset < known.end)
        return `topic ${topic}-${partition} went on at ${offset}, though it had ended at ${known.end}`;
      known.end = offset + BigInt(batch.records);
      known.turn = turn;
      return null;
    },
    ends: () =>
      Object.fromEntries([...written].map(([topic, ends]) => [topic, ends.map(({ end }) => end.toString())])),
  };
}

/** Where partitions end. */
export function toTopicEnds(found: readonly (Partition & { readonly end: bigint })[]): TopicEnds {
  const written = createWrittenEnds({});
  for (const { topic, partition, end } of found)
    written.answered({ topic, partition, turn: 1, offset: end, records: 0 });
  return written.ends();
}

/** For people, a sentence each: partitions that end before they did. */
export function lostEnds(
  recorded: TopicEnds,
  found: readonly (Partition & { readonly end: bigint })[],
): string[] {
  return found.flatMap(({ topic, partition, end }) => {
    const before = BigInt(recorded[topic]?.[partition] ?? 0);
    return end >= before ? [] : [`topic ${topic}-${partition} ends at ${end}, before the recorded ${before}`];
  });
}
