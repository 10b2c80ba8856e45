/**
 * How far the graph is, kept in the graph (I8): a node per partition, changed in the transaction of the batch that it
 * speaks of, with the owner who alone may change it.
 */
import { AppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import type { ReaderState } from '../core/partition-reader.ts';
import type { Position } from '../core/position.ts';
import type { Graph } from './client.ts';

export interface PartitionProgress extends ReaderState {
  readonly topic: string;
  readonly partition: number;
  /** Offset of the first record that is not applied. */
  readonly next: bigint;
  readonly owner: string | null;
  readonly generation: string;
  /** Commit time of the newest change applied, ms since the Unix epoch. */
  readonly committedMs: number | null;
}

export function progressId(mapping: Mapping, topic: string, partition: number): string {
  return `${mapping.sink.namespace}|${topic}|${partition}`;
}

const FIELDS = `p.topic AS topic, p.partition AS partition, p.next AS next, p.position AS position, p.epoch AS epoch,
  p.session AS session, p.owner AS owner, p.generation AS generation, p.committedMs AS committedMs`;

/** A row for every partition, at 0 where there was none. */
export async function ensureProgress(
  graph: Graph,
  mapping: Mapping,
  topics: ReadonlyMap<string, { readonly generation: string }>,
): Promise<void> {
  const { namespace } = mapping.sink;
  const rows = [...topics].flatMap(([topic, { generation }]) =>
    Array.from({ length: mapping.source.partitions }, (_, partition) => ({
      id: progressId(mapping, topic, partition),
      created: {
        namespace,
        topic,
        partition: BigInt(partition),
        next: 0n,
        position: '',
        epoch: 0n,
        session: 0n,
        generation,
      },
    })),
  );
  await graph.run(`UNWIND $rows AS row MERGE (p:_Progress {id: row.id}) ON CREATE SET p += row.created`, {
    rows,
  });
}

/** Owner first, under the lock, then what it takes over. Throws PROGRESS_GAP if the topic is another one by now. */
export async function takeOver(
  graph: Graph,
  mapping: Mapping,
  {
    topic,
    partition,
    owner,
    generation,
  }: { topic: string; partition: number; owner: string; generation: string },
): Promise<PartitionProgress> {
  const [row] = await graph.run(
    `MATCH (p:_Progress {id: $id}) SET p.owner = $owner WITH p RETURN ${FIELDS}`,
    {
      id: progressId(mapping, topic, partition),
      owner,
    },
  );
  if (row === undefined)
    throw new AppError('PROGRESS_GAP', `The graph has no progress of ${topic}-${partition}.`);
  const progress = fromRow(row);
  if (progress.generation !== generation) {
    throw new AppError(
      'PROGRESS_GAP',
      `Topic ${topic} was recreated: the graph knows another generation of it.`,
    );
  }
  return progress;
}

export async function readProgress(graph: Graph, mapping: Mapping): Promise<readonly PartitionProgress[]> {
  const { namespace } = mapping.sink;
  const rows = await graph.run(`MATCH (p:_Progress {namespace: $namespace}) RETURN ${FIELDS}`, { namespace });
  return rows.map(fromRow);
}

function fromRow(row: Readonly<Record<string, unknown>>): PartitionProgress {
  return {
    topic: row['topic'] as string,
    partition: Number(row['partition']),
    next: row['next'] as bigint,
    position: row['position'] as Position,
    epoch: Number(row['epoch']),
    session: Number(row['session']),
    owner: row['owner'] as string | null,
    generation: row['generation'] as string,
    committedMs: row['committedMs'] === null ? null : Number(row['committedMs']),
  };
}
