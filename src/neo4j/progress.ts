/**
 * How far the graph is, kept in the graph (I8): a node per partition, changed in the transaction of the batch that it
 * speaks of, with the owner who alone may change it.
 */
import { AppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import type { ReaderState } from '../core/partition-reader.ts';
import { LSN_ZERO } from '../core/lsn.ts';
import { type Position, position } from '../core/position.ts';
import { type Graph, TRANSACTION_MS } from './client.ts';
import { forbidUnseen } from './purge.ts';
import { lockGraph } from './rebuild-mark.ts';

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

/** Whose progress it is: the stream's, or that of a pass over the topics beside it, which has nodes of its own. */
export type Scope = 'stream' | 'replay';

export function progressId(
  { sink }: Mapping,
  topic: string,
  partition: number,
  scope: Scope = 'stream',
): string {
  const of = scope === 'stream' ? sink.namespace : `${sink.namespace}|${scope}`;
  return `${of}|${topic}|${partition}`;
}

/** Where a partition is begun, and the least epoch and session of what stands there. */
export interface Beginning {
  readonly next: bigint;
  readonly epoch: number;
  readonly session: number;
}

const FIRST: Beginning = { next: 0n, epoch: 0, session: 0 };

/**
 * A row for every partition; where there was none it begins at 0, or where `begin` says. Throws GRAPH_EMPTYING: a
 * rebuild removes them first, under the lock that is taken here, so that none comes back behind it.
 */
export async function ensureProgress(
  graph: Graph,
  mapping: Mapping,
  generations: ReadonlyMap<string, string>,
  begin: (topic: string, partition: number) => Beginning = () => FIRST,
): Promise<void> {
  const { namespace } = mapping.sink;
  const rows = [...generations].flatMap(([topic, generation]) =>
    Array.from({ length: mapping.source.partitions }, (_, partition) => {
      const { next, epoch, session } = begin(topic, partition);
      return {
        id: progressId(mapping, topic, partition),
        created: {
          ...{ namespace, topic, generation, next, position: '' },
          ...{ partition: BigInt(partition), epoch: BigInt(epoch), session: BigInt(session) },
        },
      };
    }),
  );
  await graph.transaction(async (open) => {
    await lockGraph(open, mapping);
    await open.run('UNWIND $rows AS row MERGE (p:_Progress {id: row.id}) ON CREATE SET p += row.created', {
      rows,
    });
  });
}

/** Where partitions began and ended when a recovery did, as decimal offsets. */
export interface RecoveryStart {
  readonly epoch: number;
  /** The epoch before it; not known of a recovery that an earlier version began. */
  readonly after?: number | undefined;
  readonly ranges: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly low: string;
    readonly end: string;
  }[];
}

/**
 * Progress of a topic that was made again begins anew; progress that lies outside of what its topic held, or is of a later
 * epoch than what it holds, goes on at the end: everything is published again behind it, in the recovery's epoch. Whatever
 * has applied some of that has adopted it already. Resolves to how many rows were moved; their owners are fenced off, and
 * what a replay brings of earlier epochs is asked for where it is not there.
 */
export async function adoptRecovery(
  graph: Graph,
  mapping: Mapping,
  generations: ReadonlyMap<string, string>,
  { epoch, after, ranges }: RecoveryStart,
): Promise<number> {
  const known = new Map(ranges.map((range) => [progressId(mapping, range.topic, range.partition), range]));
  const rows = [...generations].flatMap(([topic, generation]) =>
    Array.from({ length: mapping.source.partitions }, (_, partition) => {
      const id = progressId(mapping, topic, partition);
      const { low = '0', end = '0' } = known.get(id) ?? {};
      return { id, generation, low: BigInt(low), end: BigInt(end) };
    }),
  );
  return graph.transaction(async (open) => {
    const { records } = await open.run(ADOPT, {
      rows,
      epoch: BigInt(epoch),
      after: BigInt(after ?? epoch),
      now: { epoch: 'epoch', generation: 'generation', next: 'next' },
    });
    const topics = new Set(records.map((record) => record.get('topic') as string));
    const tables = new Set(mapping.tables.filter(({ topic }) => topics.has(topic)).map(({ table }) => table));
    await forbidUnseen(open, mapping, tables, position(epoch, LSN_ZERO, LSN_ZERO));
    return records.reduce((sum, record) => sum + Number(record.get('moved')), 0);
  });
}

const ADOPT = `UNWIND $rows AS row
MATCH (p:_Progress {id: row.id})
REMOVE p._lock
WITH row, p WHERE p[$now.epoch] < $epoch
WITH row, p, p[$now.generation] <> row.generation AS remade
WHERE remade OR p[$now.next] < row.low OR p[$now.next] > row.end
  OR (p[$now.epoch] > $after AND p[$now.next] < row.end)
SET p.next = CASE WHEN remade THEN 0 ELSE row.end END, p.generation = row.generation
REMOVE p.owner
RETURN p.topic AS topic, count(*) AS moved`;

/** How long a take-over waits: longer than a transaction of the former owner can hold the node. */
export const TAKE_OVER_MS = 2 * TRANSACTION_MS;

/**
 * Owner first, under the lock, then what it takes over: a batch of the former owner is either in it or refused.
 * Throws PROGRESS_LOST if the graph was emptied since it had a row, PROGRESS_GAP if the topic is another one by now.
 */
export async function takeOver(
  graph: Graph,
  mapping: Mapping,
  owned: { topic: string; partition: number; owner: string; generation: string },
): Promise<PartitionProgress> {
  const { topic, partition, owner, generation } = owned;
  return graph.transaction(
    async (open) => {
      const { records } = await open.run(
        'MATCH (p:_Progress {id: $id}) SET p.owner = $owner WITH p RETURN properties(p) AS progress',
        { id: progressId(mapping, topic, partition), owner },
      );
      const [record] = records;
      if (record === undefined)
        throw new AppError('PROGRESS_LOST', `The graph has lost its progress of ${topic}-${partition}.`);
      const progress = fromProperties(record.get('progress') as Properties);
      if (progress.generation === generation) return progress;
      throw new AppError(
        'PROGRESS_GAP',
        `Topic ${topic} was recreated: the graph knows another generation of it.`,
      );
    },
    { timeoutMs: TAKE_OVER_MS },
  );
}

/** The stream's. */
export async function readProgress(graph: Graph, mapping: Mapping): Promise<readonly PartitionProgress[]> {
  const { namespace } = mapping.sink;
  const rows = await graph.run(
    'MATCH (p:_Progress {namespace: $namespace}) WHERE p.scope IS NULL RETURN properties(p) AS progress',
    { namespace },
  );
  return rows.map((row) => fromProperties(row['progress'] as Properties));
}

type Properties = Readonly<Record<string, unknown>>;

/** From a node's properties. */
export function fromProperties(p: Properties): PartitionProgress {
  return {
    topic: p['topic'] as string,
    partition: Number(p['partition']),
    next: p['next'] as bigint,
    position: p['position'] as Position,
    epoch: Number(p['epoch']),
    session: Number(p['session']),
    owner: (p['owner'] as string | undefined) ?? null,
    generation: p['generation'] as string,
    committedMs: p['committedMs'] === undefined ? null : Number(p['committedMs']),
  };
}
