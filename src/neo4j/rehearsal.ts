/**
 * What writing would do, without doing it: the writer's own statements, behind the same locks, in a transaction that is
 * rolled back; the content of the keys before and after them tells a change from a repetition.
 *
 * Guarantee: nothing is written, and nobody else sees anything of it. Each batch is judged by the graph as it is then:
 * what an earlier one would have changed has not changed. On failure: as the writer's.
 */
import type { Transaction } from 'neo4j-driver';
import { type Content, differing } from '../core/content.ts';
import type { KeyedMutation } from '../core/graph.ts';
import { type Mapping, tableByName, type TableMapping } from '../core/mapping.ts';
import type { Position } from '../core/position.ts';
import type { Graph } from './client.ts';
import { type GraphElement, graphContents } from './contents.ts';
import { quote } from './cypher.ts';
import { statementsOf, type TableStatements } from './statements.ts';
import type { Key } from './sweep.ts';
import { type GraphWriter, mutate } from './writer.ts';

/** Of upserts, deletes and truncates that would be applied; the rest of them change nothing. */
export interface Effect {
  /** Upserts: created, or given other properties, labels, type or ends. */
  readonly changed: number;
  /** Deletes of what is there. */
  readonly removed: number;
  /** What truncates would take. */
  readonly emptied: number;
}

/** It makes no progress: steps are not looked at. */
export function createRehearsal(
  graph: Graph,
  mapping: Mapping,
  onEffect: (table: string, effect: Partial<Effect>) => void,
): GraphWriter {
  const statements = statementsOf(mapping);
  const truncated = new Map<string, { readonly position: Position; readonly emptied: number }>();

  return {
    async apply({ mutations }, beforeCommit) {
      const [first] = mutations;
      if (first === undefined) return { applied: 0, refused: 0, purged: [] };
      const { table, own } = named(first.table);
      const { result, effect } = await rolledBack(graph, async (open) => {
        const before = await elementsOf(open, table, mutations);
        const result = await mutate(open, own, mutations, { thorough: true });
        const after = await elementsOf(open, table, mutations);
        await beforeCommit?.(result);
        return { result, effect: effectOf(mutations, before, after) };
      });
      onEffect(first.table, effect);
      return result;
    },

    /** A truncate stands in every partition, and a later one takes all that an earlier one would: counted once. */
    async truncate({ table: name, position }) {
      const emptied = await countOlder(graph, named(name).own, position);
      const known = truncated.get(name);
      if (known !== undefined && known.position >= position) return;
      truncated.set(name, { position, emptied });
      onEffect(name, { emptied: Math.max(0, emptied - (known?.emptied ?? 0)) });
    },
  };

  function named(name: string): { readonly table: TableMapping; readonly own: TableStatements } {
    const table = tableByName(mapping, name);
    const own = statements.get(name);
    if (table === undefined || own === undefined) throw new RangeError(`${name} is not mapped`);
    return { table, own };
  }
}

class RolledBack extends Error {}

async function rolledBack<T>(graph: Graph, work: (open: Transaction) => Promise<T>): Promise<T> {
  const done: T[] = [];
  try {
    await graph.transaction(async (open) => {
      done.push(await work(open));
      throw new RolledBack();
    });
  } catch (error) {
    if (!(error instanceof RolledBack)) throw error;
  }
  return done[0] as T;
}

export type Elements = ReadonlyMap<Key, readonly GraphElement[]>;

/** What bears each key, without what is internal: a position is no content. */
async function elementsOf(
  open: Transaction,
  table: TableMapping,
  mutations: readonly KeyedMutation[],
): Promise<Elements> {
  const run: Graph['run'] = async (query, parameters = {}) =>
    (await open.run(query, parameters)).records.map((record) => record.toObject());
  const found = await graphContents({ run }, table).byKeys(mutations.map(({ key }) => key));
  const elements = new Map<Key, GraphElement[]>();
  for (const element of found) {
    const content = contentOf(element, table);
    const same = elements.get(element.key);
    if (same === undefined) elements.set(element.key, [{ ...element, content }]);
    else same.push({ ...element, content });
  }
  return elements;
}

function contentOf({ content }: GraphElement, { target }: TableMapping): Content {
  return new Map([...content].filter(([name]) => !name.startsWith('_') || name === target.keyProperty));
}

/**
 * What somebody else writes in between is newer than any of the mutations, since the stream is past them: where it stands
 * in the end, the effect is not theirs.
 */
export function effectOf(
  mutations: readonly KeyedMutation[],
  before: Elements,
  after: Elements,
): Pick<Effect, 'changed' | 'removed'> {
  let changed = 0;
  let removed = 0;
  for (const { kind, key, position } of mutations) {
    const [old, now] = [before.get(key) ?? [], after.get(key) ?? []];
    if (kind === 'node-delete' || kind === 'relationship-delete') {
      if (now.length < old.length && old.some((element) => element.position <= position)) removed++;
    } else if (now.some((element) => element.position === position) && !same(old, now)) changed++;
  }
  return { changed, removed };
}

function same(old: readonly GraphElement[], now: readonly GraphElement[]): boolean {
  return (
    old.length === now.length &&
    now.every(({ content }, i) => differing(content, old[i]?.content ?? new Map()).length === 0)
  );
}

async function countOlder(graph: Graph, table: TableStatements, position: Position): Promise<number> {
  const patterns =
    table.kind === 'node'
      ? [`(x:${quote(table.target.label)}) WHERE NOT x:Stub`]
      : [...table.byType.keys()].map((type) => `()-[x:${quote(type)}]->() WHERE true`);
  const counts = await Promise.all(
    patterns.map((pattern) =>
      graph.run(
        `MATCH ${pattern} AND coalesce(x._position, '') < $position RETURN count(x) AS count`,
        { position },
        { timeoutMs: Infinity },
      ),
    ),
  );
  return counts.flat().reduce((sum, row) => sum + Number(row['count']), 0);
}
