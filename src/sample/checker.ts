/**
 * Is the graph what PostgreSQL says? Reads both sides itself, row by row, and knows nothing of how the graph was made.
 *
 * Flow: per table, pages of rows in key order; for each page, its rows from PostgreSQL and all graph elements in the
 * same range of keys, compared by key, value by value and type by type. The ranges leave no gap, so nothing surplus
 * escapes; an element whose key cannot be compared shows in the totals. Memory holds one page.
 * For a graph at rest: what changes during the check may show as a difference. Errors are those of the drivers.
 */
import { isInt, type Driver } from 'neo4j-driver';
import type { ClientBase } from 'pg';
import {
  type Comparison,
  comparisons,
  type GraphNames,
  type Property,
  SHIPPED_NAMES,
  totalsQuery,
} from './comparisons.ts';
import { qualified, type ReplicatedTable } from './tables.ts';

export interface CheckOptions {
  readonly schema?: string;
  /** Neo4j's; else the user's home database. */
  readonly database?: string;
  /** Default: those of the shipped connectors. */
  readonly names?: GraphNames;
  readonly pageRows?: number;
  readonly signal?: AbortSignal;
}

export interface CheckResult {
  readonly equal: boolean;
  /** Rows compared. */
  readonly rows: Readonly<Record<ReplicatedTable, number>>;
  /** In the graph, without stubs. */
  readonly nodes: number;
  readonly relationships: number;
  readonly stubs: number;
  /** One line each, at most {@link MOST_DIFFERENCES}: keys and names of properties, no values. */
  readonly differences: readonly string[];
}

const MOST_DIFFERENCES = 20;
const PAGE_ROWS = 2_000;

/** A key, then the values of the properties in their order. */
type Row = readonly unknown[];

/** Keys after the one and up to the other; undefined is the end of all keys. */
interface Range {
  readonly after: string | undefined;
  readonly upTo: string | undefined;
}

export async function checkGraph(
  client: ClientBase,
  driver: Driver,
  options: CheckOptions = {},
): Promise<CheckResult> {
  const { schema = 'public', names = SHIPPED_NAMES, pageRows = PAGE_ROWS, signal } = options;
  const rows = { entity: 0, relation: 0, extract: 0, entity_extract: 0 };
  const elements = { ...rows };
  const differences: string[] = [];
  const ask = graphReader(driver, options.database);

  for (const comparison of comparisons(names)) {
    const { table } = comparison;
    for await (const range of pages(client, schema, comparison, pageRows)) {
      signal?.throwIfAborted();
      const [source, sink] = await Promise.all([
        sourceRows(client, schema, comparison, range),
        ask(sinkQuery(comparison, range), sinkParameters(comparison, range)),
      ]);
      rows[table] += source.length;
      elements[table] += sink.length;
      differences.push(...compare(comparison, source, sink));
      differences.length = Math.min(differences.length, MOST_DIFFERENCES);
    }
  }

  const [totals = []] = await ask(totalsQuery(names));
  const [nodes = 0, relationships = 0, stubs = 0, idleStubs = 0] = totals.map(Number);
  differences.push(
    ...surplus('nodes that have no comparable id', nodes - elements.entity - elements.extract),
    ...surplus(
      'relationships that have no comparable key or ends',
      relationships - elements.relation - elements.entity_extract,
    ),
    ...surplus('stubs without a relationship', idleStubs),
  );
  return {
    equal: differences.length === 0,
    rows,
    nodes,
    relationships,
    stubs,
    differences: differences.slice(0, MOST_DIFFERENCES),
  };
}

/** Ranges of about `pageRows` rows, from the lowest key to beyond the highest. */
async function* pages(
  client: ClientBase,
  schema: string,
  { table, page }: Comparison,
  pageRows: number,
): AsyncGenerator<Range> {
  let after: string | undefined;
  do {
    const { rows } = await client.query<{ key: string }>(
      `select ${page.sql}::text as key from ${qualified(schema, table)}
       where ${after === undefined ? 'true' : `${page.sql} > $2`} order by ${page.sql} offset $1 limit 1`,
      after === undefined ? [pageRows - 1] : [pageRows - 1, after],
    );
    const upTo = rows[0]?.key;
    yield { after, upTo };
    after = upTo;
  } while (after !== undefined);
}

async function sourceRows(
  client: ClientBase,
  schema: string,
  { table, page, key, properties }: Comparison,
  { after, upTo }: Range,
): Promise<readonly Row[]> {
  const values = [after, upTo].filter((bound) => bound !== undefined);
  const conditions = [
    ...(after === undefined ? [] : [`${page.sql} > $1`]),
    ...(upTo === undefined ? [] : [`${page.sql} <= $${values.length}`]),
  ];
  const columns = [key, ...properties].map(({ sql }) => `(${sql})::text`);
  const where = conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`;
  const { rows } = await client.query<unknown[]>({
    text: `select ${columns.join(', ')} from ${qualified(schema, table)} ${where}`,
    values,
    rowMode: 'array',
  });
  return rows;
}

function sinkQuery({ page, key, match, properties }: Comparison, { after, upTo }: Range): string {
  const conditions = [
    ...(after === undefined ? [] : [`${page.cypher} > $after`]),
    ...(upTo === undefined ? [] : [`${page.cypher} <= $upTo`]),
    // Without a bound, too, only what can be compared.
    `${page.cypher} IS :: ${page.kind === 'integer' ? 'INTEGER' : 'STRING'} NOT NULL`,
  ];
  const values = [key, ...properties].map(({ cypher }) => cypher);
  return `${match} AND ${conditions.join(' AND ')} RETURN [${values.join(', ')}] AS row`;
}

function sinkParameters({ page }: Comparison, { after, upTo }: Range): Record<string, unknown> {
  const bound = (text: string | undefined): unknown =>
    text === undefined ? null : page.kind === 'integer' ? BigInt(text) : text;
  return { after: bound(after), upTo: bound(upTo) };
}

function graphReader(
  driver: Driver,
  database: string | undefined,
): (query: string, parameters?: Record<string, unknown>) => Promise<readonly Row[]> {
  return async (query, parameters = {}) => {
    const { records } = await driver.executeQuery(query, parameters, {
      routing: 'READ',
      ...(database === undefined ? {} : { database }),
    });
    return records.map((record) => record.get('row') as Row);
  };
}

function compare(
  { table, properties }: Comparison,
  source: readonly Row[],
  sink: readonly Row[],
): readonly string[] {
  const differences: string[] = [];
  const missing = new Map(source.map(([key, ...values]) => [key, values]));
  const seen = new Set<unknown>();
  for (const [key, ...values] of sink) {
    const expected = missing.get(key);
    missing.delete(key);
    if (seen.has(key)) differences.push(`${table} ${String(key)} is in the graph twice`);
    else if (expected === undefined) differences.push(`${table} ${String(key)} is only in the graph`);
    else {
      const unlike = properties.filter(({ kind }, index) => !same(kind, expected[index], values[index]));
      if (unlike.length > 0)
        differences.push(`${table} ${String(key)} differs in ${unlike.map(({ name }) => name).join(', ')}`);
    }
    seen.add(key);
  }
  for (const key of missing.keys()) differences.push(`${table} ${String(key)} is not in the graph`);
  return differences;
}

/** `expected` is text; an integer in the graph must be one, whichever way the driver hands it out. */
function same(kind: Property['kind'], expected: unknown, actual: unknown): boolean {
  if (kind === 'text' || expected === null) return expected === actual;
  return (typeof actual === 'bigint' || isInt(actual)) && actual.toString() === expected;
}

function surplus(what: string, count: number): readonly string[] {
  return count === 0 ? [] : [`${String(count)} ${what}`];
}
