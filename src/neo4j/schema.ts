/**
 * What must be in the graph before anything is written, made where it is missing: constraints, since what the fences
 * find by key must be unique and is locked by key; the property that is the write lock; and the floor of every table.
 */
import { AppError, isAppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import { retry } from '../runtime/retry.ts';
import type { Graph } from './client.ts';
import { quote } from './cypher.ts';
import { statementsOf } from './statements.ts';

const INTERNAL = ['_Tombstone', '_Progress', '_Floor', '_Graph'] as const;
const MOST_NAMED = 10;

interface Unique {
  readonly on: 'node' | 'relationship';
  readonly name: string;
  readonly property: string;
}

/** Throws NEO4J_DUPLICATES or NEO4J_SCHEMA naming everything in an adopted graph that is in the way, at once. */
export async function ensureSchema(graph: Graph, mapping: Mapping, signal: AbortSignal): Promise<void> {
  const duplicates: string[] = [];
  const drops: string[] = [];
  for (const unique of uniques(mapping)) {
    try {
      // Projectors that start together may lock each other out here.
      await retry(() => patiently(graph, constraint(unique)), { signal, again: passing });
    } catch (error) {
      if (!isAppError(error, 'NEO4J_SCHEMA')) throw error;
      const twice = await duplicatesOf(graph, unique);
      const indexes = await indexesOn(graph, unique);
      if (twice === null && indexes.length === 0) throw error;
      if (twice !== null) duplicates.push(twice);
      drops.push(...indexes.map((name) => `DROP INDEX ${quote(name)}`));
    }
  }
  const inTheWay = drops.length > 0 ? ` Indexes stand where constraints must: run ${drops.join('; ')}.` : '';
  if (duplicates.length > 0) throw notUnique(duplicates, inTheWay);
  if (drops.length > 0) throw new AppError('NEO4J_SCHEMA', inTheWay.trim());

  // REMOVE of a property that was never written takes no lock.
  await graph.run(`CALL db.createProperty('_lock')`);
  await graph.run(
    `UNWIND $floors AS row MERGE (f:_Floor {id: row.floor})
     ON CREATE SET f.namespace = row.namespace, f.table = row.table, f.position = '', f.purgedThrough = ''`,
    { floors: [...statementsOf(mapping).values()].map(({ parameters }) => parameters) },
  );
}

/** For who writes nothing: throws NEO4J_DUPLICATES as `ensureSchema` does. What has its constraint is not looked at. */
export async function requireUnique(graph: Graph, mapping: Mapping): Promise<void> {
  // Of all constraints, those that make keys unique own an index.
  const constraints = await graph.run(
    `SHOW CONSTRAINTS YIELD entityType, labelsOrTypes, properties, ownedIndex WHERE ownedIndex IS NOT NULL
     RETURN toLower(entityType) AS kind, labelsOrTypes AS names, properties`,
  );
  const constrained = new Set(
    constraints.map(({ kind, names, properties }) => JSON.stringify([kind, names, properties])),
  );
  const duplicates: string[] = [];
  for (const unique of uniques(mapping)) {
    const { on, name, property } = unique;
    if (constrained.has(JSON.stringify([on, [name], [property]]))) continue;
    const twice = await duplicatesOf(graph, unique);
    if (twice !== null) duplicates.push(twice);
  }
  if (duplicates.length > 0) throw notUnique(duplicates);
}

function notUnique(duplicates: readonly string[], more = ''): AppError {
  return new AppError(
    'NEO4J_DUPLICATES',
    `The graph holds these more than once: ${duplicates.join('; ')}.${more}`,
  );
}

function passing({ code }: AppError): boolean {
  return code === 'NEO4J_TRANSIENT';
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

/** Online once it is there. */
function constraint({ on, name, property }: Unique): string {
  const pattern = on === 'node' ? `(x:${quote(name)})` : `()-[x:${quote(name)}]-()`;
  return `CREATE CONSTRAINT IF NOT EXISTS FOR ${pattern} REQUIRE x.${quote(property)} IS UNIQUE`;
}

async function duplicatesOf(graph: Graph, { on, name, property }: Unique): Promise<string | null> {
  const pattern = on === 'node' ? `(x:${quote(name)})` : `()-[x:${quote(name)}]->()`;
  const [found] = await patiently(
    graph,
    `MATCH ${pattern} WITH x.${quote(property)} AS key, count(*) AS times WHERE key IS NOT NULL AND times > 1
     WITH key, times ORDER BY key
     WITH collect(toString(key) + ' (' + times + ' times)') AS keys
     RETURN keys[..$most] AS named, size(keys) AS count`,
    { most: BigInt(MOST_NAMED) },
  );
  const named = found?.['named'] as string[];
  const more = Number(found?.['count']) - named.length;
  if (named.length === 0) return null;
  return `${name}.${property} ${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

async function indexesOn(graph: Graph, { name, property }: Unique): Promise<string[]> {
  const found = await graph.run(
    `SHOW INDEXES YIELD name, labelsOrTypes, properties, owningConstraint
     WHERE labelsOrTypes = [$name] AND properties = [$property] AND owningConstraint IS NULL RETURN name`,
    { name, property },
  );
  return found.map((index) => String(index['name']));
}

/** For what takes as long as the graph is large. */
function patiently(graph: Graph, query: string, parameters = {}): ReturnType<Graph['run']> {
  return graph.run(query, parameters, { timeoutMs: Infinity });
}
