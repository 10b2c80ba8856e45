/** The graph's side of sync-data: ids and timestamps of nodes that stand for rows, in pages by key. Stubs are none. */
import type { Stamp } from '../core/drift.ts';
import type { EntityFilter, EntityTable } from '../core/entity-table.ts';
import { graphKey, type GraphKey } from '../core/keys.ts';
import type { NodeTarget } from '../core/mapping.ts';
import type { Graph, GraphRow } from './client.ts';
import { INTEGERS, KEY_SPACES, TEXTS } from './contents.ts';
import { quote } from './cypher.ts';

export interface PositionedStamp extends Stamp {
  /** Of the last change applied; empty for a node that the projector did not write. */
  readonly position: string;
}

export interface GraphEntities {
  /** Those after the id, in the order of keys. */
  readonly page: (after: string | null, limit: number) => Promise<readonly Stamp[]>;
  readonly byIds: (ids: readonly string[]) => Promise<readonly PositionedStamp[]>;
  /** Nodes whose id is of another type, which no page has and no repair can name. */
  readonly countUnnamed: () => Promise<number>;
}

export function graphEntities(graph: Graph, table: EntityTable, filter: EntityFilter): GraphEntities {
  const label = quote(table.target.label);
  const id = `n.${quote(table.target.keyProperty)}`;
  const updatedAt = `n.${quote(table.updatedAt.property)}`;
  const { kind, lowest } = table.key.kind === 'bigint' ? INTEGERS : TEXTS;
  const named = `${id} IS :: ${kind} NOT NULL`;
  // Only text is beyond a text, but fractions are beyond an integer.
  const only = kind === 'INTEGER' ? `AND ${named}` : '';
  const keyOf = (text: string) => graphKey(table.mapping.key, [text]);
  const { changedAfterMicros, types } = filter;
  const limits = [
    ...(changedAfterMicros === null ? [] : [`AND ${updatedAt} > $changedAfterMicros`]),
    ...(types === null ? [] : [`AND n.${quote(table.type.property)} IN $types`]),
  ].join(' ');
  // The index has text in the order of its bytes; a sort would have UTF-16's, and so would the comparison.
  const page = (
    behind: '>' | '>=',
  ) => `MATCH (n:${label}) USING INDEX SEEK n:${label}(${quote(table.target.keyProperty)})
    WHERE ${id} ${behind} $after ${only} AND NOT n:Stub ${limits}
    WITH n ORDER BY ${id} LIMIT $limit
    RETURN collect(${id}) AS ids, collect([${updatedAt}]) AS stamps`;
  const [first, following] = [page('>='), page('>')];

  return {
    async page(after, limit) {
      const from = after === null ? lowest : keyOf(after);
      const parameters = { after: from, limit: BigInt(limit), changedAfterMicros, types };
      // With a filter, a page may have to look at all the rest.
      const [row] = await graph.run(after === null ? first : following, parameters, { timeoutMs: Infinity });
      const stamps = row?.['stamps'] as unknown[][];
      const keys = row?.['ids'] as GraphKey[];
      return keys.map((key, i) => ({ id: String(key), micros: integerOf(stamps[i]?.[0]) }));
    },
    async byIds(ids) {
      const rows = await graph.run(
        `UNWIND $ids AS id MATCH (n:${label} {${quote(table.target.keyProperty)}: id}) WHERE ${named} AND NOT n:Stub
         RETURN id, ${updatedAt} AS stamp, coalesce(n._position, '') AS position`,
        { ids: ids.map(keyOf) },
      );
      return rows.map((row: GraphRow) => ({
        id: String(row['id']),
        micros: integerOf(row['stamp']),
        position: row['position'] as string,
      }));
    },
    async countUnnamed() {
      const [row] = await graph.run(
        `MATCH (n:${label}) WHERE NOT n:Stub AND NOT coalesce(${named}, false) RETURN count(*) AS count`,
        {},
        { timeoutMs: Infinity },
      );
      return Number(row?.['count'] ?? 0);
    },
  };
}

function integerOf(value: unknown): bigint | null {
  return typeof value === 'bigint' ? value : null;
}

/** Values of the key property of the relationships, of these types, that the nodes have: each once, text, then integers. */
export async function* relationshipKeys(
  graph: Graph,
  { label, keyProperty: nodeKey }: Pick<NodeTarget, 'label' | 'keyProperty'>,
  { types, keyProperty }: { readonly types: readonly string[]; readonly keyProperty: string },
  ids: readonly GraphKey[],
  limit: number,
): AsyncGenerator<readonly GraphKey[]> {
  const stored = `r.${quote(keyProperty)}`;
  for (const { kind, lowest } of KEY_SPACES) {
    // Stored texts are sorted by their bytes, but compared with a parameter by UTF-16: what is made of them has one order.
    const key = kind === 'STRING' ? `${stored} + ''` : stored;
    for (let after: GraphKey | null = null; ;) {
      const [row]: readonly GraphRow[] = await graph.run(
        `UNWIND $ids AS id MATCH (n:${quote(label)} {${quote(nodeKey)}: id})-[r:${types.map(quote).join('|')}]-()
         WHERE ${stored} IS :: ${kind} NOT NULL
         WITH DISTINCT ${key} AS key WHERE key ${after === null ? '>=' : '>'} $after
         WITH key ORDER BY key LIMIT $limit RETURN collect(key) AS keys`,
        { ids, after: after ?? lowest, limit: BigInt(limit) },
        { timeoutMs: Infinity },
      );
      const keys = row?.['keys'] as GraphKey[];
      if (keys.length > 0) yield keys;
      if (keys.length < limit) break;
      after = keys.at(-1) ?? null;
    }
  }
}
