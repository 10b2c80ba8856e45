/**
 * The relationships that come or go with an entity (design §6.4): those of its rows, and those of its node. Asked for by
 * the keys of their rows, of which the graph keeps the text.
 */
import type { EntityTable } from '../../core/entity-table.ts';
import { type KeyParts, partsOf } from '../../core/keys.ts';
import { type Mapping, relationshipTypes, type TableMapping } from '../../core/mapping.ts';
import { type Graph } from '../../neo4j/client.ts';
import { relationshipKeys } from '../../neo4j/entities.ts';
import type { Sql } from '../../postgres/client.ts';
import { keysByColumns } from '../../postgres/entities.ts';

export interface EdgeKeys {
  readonly table: TableMapping;
  readonly keys: readonly KeyParts[];
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
    const types = relationshipTypes(target);
    const inGraph = await relationshipKeys(graph, entities.target, types, target.keyProperty, ids);
    // Of a foreign relationship, whose key is none of ours, no row can be asked for.
    const named = inGraph.map((stored) => partsOf(table.key, stored)).filter((key) => key !== null);
    const keys = new Map([...rows, ...named].map((key) => [JSON.stringify(key), key]));
    found.push({ table, keys: [...keys.values()] });
  }
  return found;
}
