/**
 * The relationships that come or go with an entity (design §6.4): those of its rows, and those of its node. Asked for by
 * the keys of their rows, of which the graph keeps the text.
 */
import type { EntityTable } from '../../core/entity-table.ts';
import type { Mapping, RelationshipTarget, TableMapping } from '../../core/mapping.ts';
import { type Graph } from '../../neo4j/client.ts';
import { relationshipKeys } from '../../neo4j/entities.ts';
import type { Sql } from '../../postgres/client.ts';
import { keysByColumns } from '../../postgres/entities.ts';

/** Of a row: its key's values as text, in the mapping's order. */
export type RowKey = readonly string[];

export interface EdgeKeys {
  readonly table: TableMapping;
  readonly keys: readonly RowKey[];
}

/** Per table that maps a relationship to these entities, every key found on either side, once. */
export async function edgesOf(
  ids: readonly string[],
  entities: EntityTable,
  { mapping, sql, graph }: { readonly mapping: Mapping; readonly sql: Sql; readonly graph: Graph },
  signal: AbortSignal,
): Promise<EdgeKeys[]> {
  const found: EdgeKeys[] = [];
  for (const table of mapping.tables) {
    const { target } = table;
    if (target.kind !== 'relationship') continue;
    const { label } = entities.target;
    const ends = [target.from, target.to].filter((end) => end.label === label);
    if (ends.length === 0) continue;
    const columns = ends.map(({ column }) => column);
    const rows = await keysByColumns(sql, table, { columns, kind: entities.key.kind, ids }, signal);
    const types = new Set([...target.type.byValue.values(), target.type.otherwise].map(({ type }) => type));
    const inGraph = await relationshipKeys(graph, entities.target, [...types], target.keyProperty, ids);
    const keys = new Map(
      [...rows, ...inGraph.flatMap((key) => rowKeyOf(key, target, table))].map((key) => [
        JSON.stringify(key),
        key,
      ]),
    );
    found.push({ table, keys: [...keys.values()] });
  }
  return found;
}

/** Of a foreign relationship, whose key is none of ours, nothing: no row can be asked for. */
function rowKeyOf(key: unknown, target: RelationshipTarget, table: TableMapping): RowKey[] {
  if (typeof key !== 'string' && typeof key !== 'bigint') return [];
  if (table.key.length === 1) return [[String(key)]];
  try {
    const parts: unknown = JSON.parse(String(key));
    const fits = Array.isArray(parts) && parts.length === table.key.length;
    return fits ? [parts.map(String)] : [];
  } catch {
    return [];
  }
}
