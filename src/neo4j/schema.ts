/** Constraints, before anything is written: what the fences find by key must be unique. */
import { AppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import type { Graph } from './client.ts';
import { quote } from './cypher.ts';

const INTERNAL = ['_Tombstone', '_Progress', '_Floor', '_Graph'] as const;
const MOST_DUPLICATES = 10;

interface Unique {
  readonly on: 'node' | 'relationship';
  readonly name: string;
  readonly property: string;
}

/** Throws NEO4J_DUPLICATES naming what stands twice in an adopted graph, all of it at once. */
export async function ensureSchema(graph: Graph, mapping: Mapping): Promise<void> {
  // An unknown property cannot be removed, and then takes no lock.
  await graph.run(`CALL db.createProperty('_lock')`);
  const wanted = uniques(mapping);
  const duplicates: string[] = [];
  for (const unique of wanted) {
    try {
      await graph.run(constraint(unique));
    } catch (error) {
      const found = await duplicatesOf(graph, unique);
      if (found.length === 0) throw error;
      duplicates.push(...found);
    }
  }
  if (duplicates.length > 0) {
    throw new AppError('NEO4J_DUPLICATES', `The graph holds these more than once: ${duplicates.join('; ')}.`);
  }
  await graph.run('CALL db.awaitIndexes(300)');
}

function uniques(mapping: Mapping): Unique[] {
  const all: Unique[] = INTERNAL.map((name) => ({ on: 'node', name, property: 'id' }));
  for (const { target } of mapping.tables) {
    const property = target.keyProperty;
    if (target.kind === 'node') all.push({ on: 'node', name: target.label, property });
    else {
      const types = new Set([...target.type.byValue.values(), target.type.otherwise].map((v) => v.type));
      for (const name of types) all.push({ on: 'relationship', name, property });
    }
  }
  return all;
}

function constraint({ on, name, property }: Unique): string {
  const pattern = on === 'node' ? `(x:${quote(name)})` : `()-[x:${quote(name)}]-()`;
  return `CREATE CONSTRAINT IF NOT EXISTS FOR ${pattern} REQUIRE x.${quote(property)} IS UNIQUE`;
}

async function duplicatesOf(graph: Graph, { on, name, property }: Unique): Promise<string[]> {
  const pattern = on === 'node' ? `(x:${quote(name)})` : `()-[x:${quote(name)}]->()`;
  const rows = await graph.run(
    `MATCH ${pattern} WITH x.${quote(property)} AS key, count(*) AS times WHERE key IS NOT NULL AND times > 1
     RETURN toString(key) AS key, times ORDER BY key LIMIT ${MOST_DUPLICATES}`,
  );
  return rows.map((row) => `${name} ${String(row['key'])} (${String(row['times'])} times)`);
}
