/** Where the partitions of topics begin and end. */
import { allOf } from '../runtime/all-of.ts';
import type { Cluster } from './cluster.ts';
import type { TopicPartition } from './wire.ts';

export interface PartitionRange extends TopicPartition {
  /** The first offset there is, or was before compaction. */
  readonly low: bigint;
  /** The offset that the next record will get. */
  readonly end: bigint;
}

/** The topics must be among those that the connection was made for. */
export async function offsetRanges(cluster: Cluster, topics: readonly string[]): Promise<PartitionRange[]> {
  const wanted = topics.map((topic) => ({
    topic,
    partitions: cluster
      .findTopicPartitionMetadata(topic)
      .map(({ partitionId }) => ({ partition: partitionId })),
  }));
  const offsets = async (fromBeginning: boolean): Promise<Map<string, bigint>> => {
    const found = await cluster.fetchTopicsOffset(wanted.map((topic) => ({ ...topic, fromBeginning })));
    return new Map(
      found.flatMap(({ topic, partitions }) =>
        partitions.map(({ partition, offset }) => [`${topic}-${partition}`, BigInt(offset)] as const),
      ),
    );
  };
  const [lows, ends] = await allOf([offsets(true), offsets(false)]);
  return wanted.flatMap(({ topic, partitions }) =>
    partitions.map(({ partition }) => {
      const name = `${topic}-${partition}`;
      return { topic, partition, low: lows.get(name) ?? 0n, end: ends.get(name) ?? 0n };
    }),
  );
}
