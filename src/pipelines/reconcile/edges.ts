/**
 * The relationships that come or go with an entity (design §6.4): those of its rows, and those of its node. Asked for by
 * the keys of their rows, of which the graph keeps the text. In pages: everything may be related to one entity.
 */
import type { EntityTable } from '../../core/entity-table.ts';
import { graphKey, type KeyParts, keyText, partsOf } from '../../core/keys.ts';
import {
  type Mapping,
  type RelationshipTarget,
  relationshipTypes,
  type TableMapping,
} from '../../core/mapping.ts';
import { type Graph } from '../../neo4j/client.ts';
import { relationshipKeys } from '../../neo4j/entities.ts';
import type { Sql } from '../../postgres/client.ts';
import { keysByColumns } from '../../postgres/entities.ts';

export interface EdgeKeys {
  readonly table: TableMapping;
  readonly keys: readonly KeyParts[];
}

interface Sides {
  readonly mapping: Mapping;
  readonly sql: Sql;
  readonly graph: Graph;
}

interface Limits {
  /** Each is a look at all relationships of the entities. */
  readonly page: number;
  /** Of a table's keys that rows have; what is in the graph of those beyond comes a second time. */
  readonly remembered: number;
}

const LIMITS: Limits = { page: 10_000, remembered: 100_000 };

/** Per table that maps a relationship to these entities, every key found on either side. */
export async function* edgesOf(
  ids: readonly string[],
  entities: EntityTable,
  sides: Sides,
  signal: AbortSignal,
  { page, remembered } = LIMITS,
): AsyncGenerator<EdgeKeys> {
  for (const table of sides.mapping.tables) {
    const { target } = table;
    if (target.kind !== 'relationship') continue;
    const columns = [target.from, target.to]
      .filter(({ label }) => label === entities.target.label)
      .map(({ column }) => column);
    if (columns.length === 0) continue;
    const known = new Set<string>();
    for await (const keys of keysOfRows(
      table,
      { columns, kind: entities.key.kind, ids },
      page,
      sides,
      signal,
    )) {
      yield { table, keys };
      for (const key of keys.slice(0, remembered - known.size)) known.add(keyText(key));
    }
    for await (const keys of keysInGraph({ ...table, target }, ids, entities, page, sides)) {
      const others = keys.filter((key) => !known.has(keyText(key)));
      if (others.length > 0) yield { table, keys: others };
    }
  }
}

async function* keysOfRows(
  table: TableMapping,
  by: Parameters<typeof keysByColumns>[2],
  limit: number,
  { sql }: Sides,
  signal: AbortSignal,
): AsyncGenerator<readonly KeyParts[]> {
  for (let after: KeyParts | null = null; ;) {
    const keys: readonly KeyParts[] = await keysByColumns(sql, table, by, { after, limit }, signal);
    if (keys.length > 0) yield keys;
    if (keys.length < limit) return;
    after = keys.at(-1) ?? null;
  }
}

async function* keysInGraph(
  { key, target }: TableMapping & { readonly target: RelationshipTarget },
  ids: readonly string[],
  { target: node, mapping: entities }: EntityTable,
  limit: number,
  { graph }: Sides,
): AsyncGenerator<readonly KeyParts[]> {
  const types = relationshipTypes(target);
  for await (const stored of relationshipKeys(
    graph,
    node,
    { types, keyProperty: target.keyProperty },
    ids.map((id) => graphKey(entities.key, [id])),
    limit,
  )) {
    // Of a foreign relationship, whose key is none of ours, no row can be asked for.
    yield stored.map((of) => partsOf(key, of)).filter((parts) => parts !== null);
  }
}
