/**
 * Writes batches of mutations (I7, I8), each in one transaction with the progress that it makes:
 *
 *     progress (lock, owner, from = next) ─▶ nodes ─▶ ends ─▶ relationships ─▶ stubs left alone ─▶ commit
 *
 * Guarantee: a batch is applied once or not at all, by the owner of its partition, and nothing in it wins over what is
 * newer in the graph. All statements are sent before the first answer is awaited.
 * On failure the transaction is rolled back and the caller tries the same batch again; if the answer to a commit was
 * lost, the next attempt finds the progress already made and is done.
 */
import type { Record as Neo4jRecord, Transaction } from 'neo4j-driver';
import { AppError } from '../core/errors.ts';
import type { KeyedMutation, RelationshipDelete, RelationshipUpsert } from '../core/graph.ts';
import { type EndMapping, type Mapping, tableByName, type TableMapping } from '../core/mapping.ts';
import type { Position } from '../core/position.ts';
import type { Graph } from './client.ts';
import * as cypher from './cypher.ts';
import { progressId } from './progress.ts';

export interface Step {
  readonly topic: string;
  readonly partition: number;
  /** Where the last batch ended. */
  readonly from: bigint;
  readonly next: bigint;
  readonly position: Position;
  readonly epoch: number;
  readonly session: number;
  readonly committedMs: number | null;
}

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
  readonly purged: readonly (string | bigint)[];
}

export interface GraphWriter {
  /** `beforeCommit` sees the result while the batch can still fail: what must not be lost is made durable there. */
  readonly apply: (
    batch: Batch,
    beforeCommit?: (result: ApplyResult) => Promise<void>,
  ) => Promise<ApplyResult>;
  readonly truncate: (step: TruncateStep) => Promise<void>;
}

const PROGRESS = `MATCH (p:_Progress {id: $id})
REMOVE p._lock
WITH p WHERE p.owner = $owner AND p.next = $from
SET p.next = $next, p.position = $position, p.epoch = $epoch, p.session = $session,
    p.committedMs = coalesce($committedMs, p.committedMs)
RETURN p.next AS next`;

const FLOOR = `MERGE (f:_Floor {id: $floor})
ON CREATE SET f.namespace = $namespace, f.table = $table
REMOVE f._lock
WITH f WHERE coalesce(f.position, '') < $position
SET f.position = $position`;

const TRUNCATE_CHUNK = 5000n;

export function createWriter(
  graph: Graph,
  mapping: Mapping,
  { owner }: { readonly owner: string },
): GraphWriter {
  const { namespace } = mapping.sink;
  const statements = new Map(mapping.tables.map((table) => [table.table, statementsOf(table)]));
  const floorId = (table: string) => `${namespace}|${table}`;

  function tableOf(name: string): TableMapping {
    const table = tableByName(mapping, name);
    if (table === undefined) throw new RangeError(`${name} is not mapped`);
    return table;
  }

  function lockProgress(open: Transaction, step: Step): Promise<void> {
    const { from, next, position, committedMs } = step;
    const answer = open.run(PROGRESS, {
      id: progressId(mapping, step.topic, step.partition),
      owner,
      from,
      next,
      position,
      epoch: BigInt(step.epoch),
      session: BigInt(step.session),
      committedMs: committedMs === null ? null : BigInt(committedMs),
    });
    return answer.then(({ records }) => {
      if (records.length === 0) throw new ProgressRefused();
    });
  }

  async function mutate(open: Transaction, mutations: readonly KeyedMutation[]): Promise<ApplyResult> {
    const [first] = mutations;
    if (first === undefined) return { applied: 0, refused: 0, purged: [] };
    const table = tableOf(first.table);
    const { target } = table;
    const own = statements.get(table.table);
    const parameters = { floor: floorId(table.table), namespace, table: table.table };
    const idOf = (key: string | bigint) => cypher.tombstoneId(mapping, table, key);
    const answers: Promise<readonly Neo4jRecord[]>[] = [];
    const send = (statement: string | undefined, rows: readonly unknown[]) => {
      if (rows.length === 0 || statement === undefined) return;
      answers.push(open.run(statement, { ...parameters, rows }).then((result) => result.records));
    };
    const sorted = [...mutations].sort((a, b) => (a.key < b.key ? -1 : 1));

    if (target.kind === 'node') {
      send(
        own?.nodes?.upsert,
        sorted.flatMap((m) =>
          m.kind === 'node-upsert'
            ? [
                [
                  m.key,
                  m.position,
                  idOf(m.key),
                  m.typeLabel === null ? [target.label] : [target.label, m.typeLabel],
                  ...m.values,
                ],
              ]
            : [],
        ),
      );
      send(
        own?.nodes?.remove,
        sorted.flatMap((m) => (m.kind === 'node-delete' ? [[m.key, m.position, idOf(m.key)]] : [])),
      );
      return tally((await Promise.all(answers)).flat());
    }

    const upserts = sorted.filter((m) => m.kind === 'relationship-upsert');
    const deletes = sorted.filter((m) => m.kind === 'relationship-delete');
    const ends = endsOf(upserts, target.from, target.to);
    const locked = ends.map(({ end, keys }) => open.run(cypher.mergeEnds(end), { rows: keys }));
    for (const [type, of] of byType(upserts)) {
      send(
        own?.relationships?.get(type)?.upsert,
        of.map((m) => [m.key, m.position, idOf(m.key), m.from, m.to, ...m.values]),
      );
    }
    for (const [type, of] of byType(deletes)) {
      send(
        own?.relationships?.get(type)?.remove,
        of.map((m) => [m.key, m.position, idOf(m.key)]),
      );
    }
    await Promise.all(locked);
    const records = (await Promise.all(answers)).flat();
    const left = [...new Set(records.flatMap((record) => record.get('ends') as string[]))].sort();
    if (left.length > 0) await open.run(cypher.SWEEP_STUBS, { ends: left });
    return tally(records);
  }

  /** Was the commit of this very step made, its answer lost? */
  async function alreadyMade(step: Step): Promise<boolean> {
    const [row] = await graph.run(
      `MATCH (p:_Progress {id: $id}) RETURN p.owner = $owner AND p.next = $next AS made`,
      {
        id: progressId(mapping, step.topic, step.partition),
        owner,
        next: step.next,
      },
    );
    return row?.['made'] === true;
  }

  async function withProgress<T>(step: Step, work: (open: Transaction) => Promise<T>, made: T): Promise<T> {
    try {
      return await graph.transaction(async (open) => {
        const [, result] = await settled([lockProgress(open, step), work(open)]);
        return result;
      });
    } catch (error) {
      if (!(error instanceof AppError && error.cause instanceof ProgressRefused)) throw error;
      if (await alreadyMade(step)) return made;
      throw new AppError(
        'PROGRESS_LOST',
        `Another projector has taken ${step.topic}-${step.partition} over.`,
      );
    }
  }

  return {
    apply: (batch, beforeCommit) =>
      withProgress<ApplyResult>(
        batch,
        async (open) => {
          const result = await mutate(open, batch.mutations);
          await beforeCommit?.(result);
          return result;
        },
        { applied: 0, refused: 0, purged: [] },
      ),

    async truncate(step) {
      const { target, table } = tableOf(step.table);
      const still = { ...step, next: step.from };
      await withProgress(
        still,
        (open) => open.run(FLOOR, { floor: floorId(table), namespace, table, position: step.position }),
        undefined,
      );
      const chunk = { position: step.position, limit: TRUNCATE_CHUNK };
      for (const statement of statements.get(table)?.truncate ?? []) {
        for (let more = true; more;) {
          more = await withProgress(
            still,
            async (open) => {
              const { records } = await open.run(statement, chunk);
              if (target.kind === 'node') return Number(records[0]?.get('removed') ?? 0) > 0;
              const ends = [
                ...new Set(records.flatMap((r) => [r.get('a') as string, r.get('b') as string])),
              ].sort();
              await open.run(cypher.SWEEP_STUBS, { ends });
              return records.length > 0;
            },
            true,
          );
        }
      }
      await withProgress(step, () => Promise.resolve(), undefined);
    },
  };
}

class ProgressRefused extends Error {}

interface Statements {
  readonly nodes?: { readonly upsert: string; readonly remove: string };
  readonly relationships?: ReadonlyMap<string, { readonly upsert: string; readonly remove: string }>;
  readonly truncate: readonly string[];
}

function statementsOf({ target }: TableMapping): Statements {
  if (target.kind === 'node') {
    const typeLabels = [...new Set(target.labels?.byValue.values() ?? [])];
    return {
      nodes: { upsert: cypher.upsertNodes(target), remove: cypher.deleteNodes(target, typeLabels) },
      truncate: [cypher.truncateNodes(target, typeLabels)],
    };
  }
  const variants = new Map([...target.type.byValue.values(), target.type.otherwise].map((v) => [v.type, v]));
  return {
    relationships: new Map(
      [...variants].map(([type, variant]) => [
        type,
        {
          upsert: cypher.upsertRelationships(target, variant),
          remove: cypher.deleteRelationships(target, type),
        },
      ]),
    ),
    truncate: [...variants.keys()].map(cypher.truncateRelationships),
  };
}

/** The ends' keys per label, sorted, so that batches lock them in one order. */
function endsOf(
  upserts: readonly RelationshipUpsert[],
  from: EndMapping,
  to: EndMapping,
): { end: EndMapping; keys: (string | bigint)[] }[] {
  const byLabel = new Map<string, { end: EndMapping; keys: Set<string | bigint> }>();
  for (const [end, key] of upserts.flatMap(
    (m) =>
      [
        [from, m.from],
        [to, m.to],
      ] as const,
  )) {
    const group = byLabel.get(end.label) ?? { end, keys: new Set() };
    group.keys.add(key);
    byLabel.set(end.label, group);
  }
  return [...byLabel.values()]
    .sort((a, b) => (a.end.label < b.end.label ? -1 : 1))
    .map(({ end, keys }) => ({ end, keys: [...keys].sort((a, b) => (a < b ? -1 : 1)) }));
}

function byType<T extends RelationshipUpsert | RelationshipDelete>(
  mutations: readonly T[],
): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const mutation of mutations) {
    const group = groups.get(mutation.type);
    if (group === undefined) groups.set(mutation.type, [mutation]);
    else group.push(mutation);
  }
  return groups;
}

function tally(records: readonly Neo4jRecord[]): ApplyResult {
  let applied = 0;
  let refused = 0;
  const purged: (string | bigint)[] = [];
  for (const record of records) {
    const fate = record.get('fate') as string;
    if (fate === 'applied') applied++;
    else if (fate === 'refused') refused++;
    else purged.push(record.get('key') as string | bigint);
  }
  return { applied, refused, purged };
}

/** All of them, whatever happens to one: a transaction is not given back while a statement of it is under way. */
async function settled<A, B>(both: [Promise<A>, Promise<B>]): Promise<[A, B]> {
  const [a, b] = await Promise.allSettled(both);
  if (a.status === 'rejected') throw a.reason;
  if (b.status === 'rejected') throw b.reason;
  return [a.value, b.value];
}
