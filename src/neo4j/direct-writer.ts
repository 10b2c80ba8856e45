/**
 * Writes to the graph that are none of the stream's: the projector's statements, under the same locks, but compare and
 * set. A mutation names the position at which its key was seen, and is applied if the key still stands there; the
 * position stays, and progress is not touched. So whatever the stream writes meanwhile or later wins.
 */
import type { KeyedMutation } from '../core/graph.ts';
import type { Mapping } from '../core/mapping.ts';
import type { Position } from '../core/position.ts';
import type { Graph } from './client.ts';
import { PLANNED_ONCE, quote } from './cypher.ts';
import { statementsOf, type TableStatements } from './statements.ts';
import type { Key } from './sweep.ts';
import { type ApplyResult, mutate } from './writer.ts';

export interface DirectWriter {
  /** Where the keys of these mutations, of one table, stand now; a node or relationship that is gone, at its tombstone. */
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
      const patterns = mutations.map((mutation) => patternOf(table, mutation));
      for (const pattern of new Set(patterns)) {
        const keys = mutations.filter((_, i) => patterns[i] === pattern).map(({ key }) => key);
        const rows = await graph.run(standing(pattern), { tombstones, batch: { rows: keys } });
        for (const row of rows) found.set(row['key'] as Key, row['position'] as Position);
      }
      return found;
    },
    async apply(mutations) {
      const [first] = mutations;
      if (first === undefined) return { applied: 0, refused: 0, purged: [] };
      return graph.transaction((open) => mutate(open, tableOf(first), mutations));
    },
  };
}

function patternOf({ target }: TableStatements, mutation: KeyedMutation): string {
  const key = `{${quote(target.keyProperty)}: key}`;
  if (target.kind === 'node') return `(x:${quote(target.label)} ${key})`;
  if (!('type' in mutation)) throw new RangeError(`a ${mutation.kind} does not fit ${mutation.table}`);
  return `()-[x:${quote(mutation.type)} ${key}]->()`;
}

const standing = (pattern: string) => `${PLANNED_ONCE}
UNWIND $batch.rows AS key
OPTIONAL MATCH ${pattern}
OPTIONAL MATCH (t:_Tombstone {id: CASE WHEN coalesce(x._position, '') = '' THEN $tombstones + toString(key) END})
RETURN key, coalesce(t.position, x._position, '') AS position`;
