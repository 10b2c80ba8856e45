/**
 * Writes batches of mutations, each in one transaction behind the fence of its partition:
 *
 *     upserts, deletes, in the order of keys ─▶ stubs left alone ─▶ beforeCommit ─▶ commit with progress
 *
 * Guarantee (I7, I8): a batch is applied once or not at all, by the owner of its partition, and nothing in it wins over
 * what is newer in the graph. All statements are sent before the first answer is awaited.
 * On failure the transaction is rolled back, and the caller tries the same batch again. What two transactions did to
 * one key at once is NEO4J_TRANSIENT, NEO4J_CONSTRAINT where Neo4j saw it first: the next attempt sees what the other
 * one committed.
 */
import type { QueryResult, Transaction } from 'neo4j-driver';
import { AppError } from '../core/errors.ts';
import type { KeyedMutation } from '../core/graph.ts';
import type { Mapping } from '../core/mapping.ts';
import type { Graph } from './client.ts';
import { createFills } from './fill.ts';
import { createFence, type Step } from './fence.ts';
import type { Scope } from './progress.ts';
import { statementsOf, type TableStatements } from './statements.ts';
import { rowsBy, statementsFor } from './rows.ts';
import { type Ends, type Key, sweep } from './sweep.ts';
import { truncateTable } from './truncate.ts';

export interface Batch extends Step {
  /** Of one table; at most one per key. */
  readonly mutations: readonly KeyedMutation[];
}

export interface TruncateStep extends Step {
  readonly table: string;
}

export interface ApplyResult {
  readonly applied: number;
  /** Older than what the graph has. */
  readonly refused: number;
  /** Keys that are not in the graph, with a position whose tombstones are purged: not applied, to be asked for. */
  readonly purged: readonly Key[];
}

export interface GraphWriter {
  /** `beforeCommit` sees the result while the batch can still fail: what must not be lost is made durable there. */
  readonly apply: (
    batch: Batch,
    beforeCommit?: (result: ApplyResult) => Promise<void>,
  ) => Promise<ApplyResult>;
  readonly truncate: (step: TruncateStep) => Promise<void>;
}

/** Also of a batch that an earlier attempt has applied, so that nothing is counted twice. */
const NOTHING: ApplyResult = { applied: 0, refused: 0, purged: [] };

/** `filling`: much of what comes is not in the graph yet, which is a guess that speed alone depends on. */
export function createWriter(
  graph: Graph,
  mapping: Mapping,
  {
    filling = () => false,
    ...owned
  }: { readonly owner: string; readonly scope?: Scope; readonly filling?: () => boolean },
): GraphWriter {
  const fence = createFence(graph, mapping, owned);
  const fills = createFills();
  const tables = statementsOf(mapping);
  const tableOf = (name: string) => {
    const table = tables.get(name);
    if (table === undefined) throw new RangeError(`${name} is not mapped`);
    return table;
  };

  return {
    async apply(batch, beforeCommit) {
      const { mutations } = batch;
      const [first] = mutations;
      const table = first === undefined ? null : tableOf(first.table);
      const fill =
        table !== null && filling() ? fills.of(`${batch.topic}-${batch.partition}`, table, mutations) : null;
      if (fill !== null) {
        const create = async (open: Transaction): Promise<ApplyResult> => ({
          ...NOTHING,
          applied: await fill.create(open),
        });
        try {
          return (await fence(batch, create, beforeCommit)) ?? NOTHING;
        } catch (error) {
          if (!fill.declined(error)) throw error;
        }
      }
      const thorough = owned.scope === 'replay';
      const work = (open: Transaction): Promise<ApplyResult> => {
        if (table === null) return Promise.resolve(NOTHING);
        const write = () => mutate(open, table, mutations, { thorough });
        return thorough ? holdingFloor(open, table, write) : write();
      };
      return (await fence(batch, work, beforeCommit)) ?? NOTHING;
    },
    truncate: (step) => truncateTable(fence, step, tableOf(step.table)),
  };
}

/**
 * The stream's truncate finds what was written below it in any partition, whose record stands behind that; in what is
 * replayed it need not stand. So it waits for this transaction, and then sees what that has written, or came before `work`.
 */
async function holdingFloor<T>(
  open: Transaction,
  { parameters }: TableStatements,
  work: () => Promise<T>,
): Promise<T> {
  const floor = async (lock: string) => {
    const query = `MATCH (f:_Floor {id: $floor}) ${lock} RETURN f[$now.position] AS position`;
    const { records } = await open.run(query, parameters);
    return records[0]?.get('position') as unknown;
  };
  const [before, result] = await Promise.all([floor(''), work()]);
  if ((await floor('REMOVE f._lock')) !== before)
    throw new AppError('NEO4J_TRANSIENT', 'A table was truncated meanwhile.');
  return result;
}

/** In an open transaction, by the rule that the table's statements are built for; `thorough`: each of the mutations. */
export async function mutate(
  open: Transaction,
  table: TableStatements,
  mutations: readonly KeyedMutation[],
  { thorough }: { readonly thorough: boolean },
): Promise<ApplyResult> {
  const statementOf = (mutation: KeyedMutation) => {
    const statements = statementsFor(table, mutation);
    if (mutation.kind.endsWith('-delete')) return statements.remove;
    const repairs = thorough || (mutation.kind === 'relationship-upsert' && mutation.thorough);
    return repairs ? statements.thorough : statements.upsert;
  };
  const fates = await Promise.all(
    [...rowsBy(mutations, statementOf)].map(([statement, rows]) =>
      open.run(statement, { ...table.parameters, batch: { rows } }).then(fatesOf),
    ),
  );
  if (table.kind === 'relationship')
    await sweep(
      open,
      table,
      fates.flatMap(({ left }) => left),
    );
  const applied = fates.reduce((sum, fate) => sum + fate.applied, 0);
  const purged = fates.flatMap((fate) => fate.purged);
  return { applied, refused: mutations.length - applied - purged.length, purged };
}

interface Fates {
  readonly applied: number;
  readonly purged: readonly Key[];
  /** Ends that lost a relationship. */
  readonly left: readonly Ends[];
}

function fatesOf({ records }: QueryResult): Fates {
  const [record] = records;
  if (record === undefined) {
    throw new AppError(
      'PROGRESS_LOST',
      'The graph has lost the floor of a table: it was emptied or replaced.',
    );
  }
  const { applied, vanished, purged, left, steady } = record.toObject() as {
    readonly applied: bigint;
    /** Deleted by another transaction while this one waited for its lock. */
    readonly vanished: bigint;
    readonly purged?: Key[];
    readonly left?: Ends[];
    readonly steady?: boolean;
  };
  if (vanished > 0n || steady === false) {
    throw new AppError('NEO4J_TRANSIENT', 'Another transaction changed the same part of the graph.');
  }
  return { applied: Number(applied), purged: purged ?? [], left: left ?? [] };
}
