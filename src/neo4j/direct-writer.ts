/**
 * Writes to the graph that are none of the stream's: the projector's statements, under the same locks, but compare and
 * set. A mutation names the position at which its key was seen, and is applied if the key still stands there; the
 * position stays, and progress is not touched. So whatever the stream writes meanwhile or later wins.
 */
import type { KeyedMutation } from '../core/graph.ts';
import { type Mapping, relationshipTypes } from '../core/mapping.ts';
import type { Position } from '../core/position.ts';
import type { Graph } from './client.ts';
import { PLANNED_ONCE, quote } from './cypher.ts';
import { statementsOf, type TableStatements } from './statements.ts';
import type { Key } from './sweep.ts';
import { type ApplyResult, mutate } from './writer.ts';

export interface DirectWriter {
  /**
   * Where the keys of these mutations, of one table, stand now: at the newest of what bears them, under any type, and of
   * their tombstones.
   */
  readonly positions: (mutations: readonly KeyedMutation[]) => Promise<ReadonlyMap<Key, Position>>;
  /** Of one table; at most one per key. What has moved is refused. */
  readonly apply: (mutations: readonly KeyedMutation[]) => Promise<ApplyResult>;
}

export function createDirectWriter(graph: Graph, mapping: Mapping): DirectWriter {
  const tables = statementsOf(mapping, 'unmoved');
  const tableOf = ({ table: name }: KeyedMutation): TableStatements => {
    const table = tables.get(name);
    if (table === undefined) throw new RangeError(`${name} is not mapped`);
    return table;
  };

  return {
    async positions(mutations) {
      const found = new Map<Key, Position>();
      const [first] = mutations;
      if (first === undefined) return found;
      const table = tableOf(first);
      const { tombstones } = table.parameters;
      const keys = mutations.map(({ key }) => key);
      for (const pattern of patternsOf(table)) {
        const rows = await graph.run(standing(pattern), { tombstones, batch: { rows: keys } });
        for (const row of rows) {
          const [key, position] = [row['key'] as Key, row['position'] as Position];
          if (position >= (found.get(key) ?? position)) found.set(key, position);
        }
      }
      return found;
    },
    async apply(mutations) {
      const [first] = mutations;
      if (first === undefined) return { applied: 0, refused: 0, purged: [] };
      return graph.transaction((open) => mutate(open, tableOf(first), mutations, { thorough: true }));
    },
  };
}

function patternsOf({ target }: TableStatements): string[] {
  const key = `{${quote(target.keyProperty)}: key}`;
  if (target.kind === 'node') return [`(x:${quote(target.label)} ${key})`];
  return relationshipTypes(target).map((type) => `()-[x:${quote(type)} ${key}]->()`);
}

const standing = (pattern: string) => `${PLANNED_ONCE}
UNWIND $batch.rows AS key
OPTIONAL MATCH ${pattern}
OPTIONAL MATCH (t:_Tombstone {id: $tombstones + toString(key)})
WITH key, t.position AS buried, coalesce(x._position, '') AS stored
RETURN key, CASE WHEN buried > stored THEN buried ELSE stored END AS position`;
