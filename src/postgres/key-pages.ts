/** A table's keys in pages, in their order: what a whole table is asked for by. Index scans, without the rows. */
import { canonicalKey, type KeyParts } from '../core/keys.ts';
import type { TableMapping } from '../core/mapping.ts';
import type { Sql } from './client.ts';
import { joinKeys, keyBetween, keyOrder } from './key-sql.ts';
import { quoteIdentifier, quoteTable } from './sql.ts';

export interface KeyPage {
  /** The page's last key. */
  readonly last: KeyParts;
  /** How many rows it has; fewer than asked for: it is the table's last page. */
  readonly rows: number;
}

/** Of the first `limit` rows after the key; null: there are none. */
export async function keyPage(
  sql: Sql,
  table: TableMapping,
  after: KeyParts | null,
  limit: number,
  signal: AbortSignal,
): Promise<KeyPage | null> {
  const { key } = table;
  const order = keyOrder(key);
  const values: unknown[] = [];
  const parts = key.map(({ name }, i) => `t.${quoteIdentifier(name)} as k${i}`).join(', ');
  const texts = key.map((_, i) => `k${i}::text`).join(', ');
  const [row] = await sql.query<Record<string, string>>(
    `select ${texts}, n::text from (
       select ${parts}, row_number() over (order by ${order}) as n from ${quoteTable(table)} as t
        where ${keyBetween(key, { after, upTo: null }, values)} order by ${order} limit ${limit}) as page
      order by page.n desc limit 1`,
    values,
    signal,
  );
  return row === undefined ? null : { last: key.map((_, i) => row[`k${i}`] ?? ''), rows: Number(row['n']) };
}

/** Those of the keys that a row has, as PostgreSQL writes them. */
export async function existingKeys(
  sql: Sql,
  { schema, name, key }: TableMapping,
  keys: readonly KeyParts[],
  signal: AbortSignal,
): Promise<readonly KeyParts[]> {
  const possible = keys.map((parts) => canonicalKey(key, parts)).filter((parts) => parts !== null);
  const values: unknown[] = [];
  const texts = key.map((part, i) => `t.${quoteIdentifier(part.name)}::text as k${i}`).join(', ');
  const rows = await sql.query<Record<string, string>>(
    `select ${texts} from ${quoteTable({ schema, name })} as t ${joinKeys(key, possible, values)}`,
    values,
    signal,
  );
  return rows.map((row) => key.map((_, i) => row[`k${i}`] ?? ''));
}

export interface RowFilter {
  /** Rows with one of these values in this column. */
  readonly types: { readonly column: string; readonly values: readonly string[] } | null;
  /** Strictly later, microseconds since the Unix epoch. */
  readonly changedAfter: { readonly column: string; readonly micros: bigint } | null;
}

/** Of the first `limit` rows after the key that pass the filter. */
export async function filteredKeys(
  sql: Sql,
  table: TableMapping,
  { types, changedAfter }: RowFilter,
  after: KeyParts | null,
  limit: number,
  signal: AbortSignal,
): Promise<readonly KeyParts[]> {
  const { key } = table;
  const values: unknown[] = [];
  const limits = [keyBetween(key, { after, upTo: null }, values)];
  if (types !== null) limits.push(`t.${quoteIdentifier(types.column)} = any ($${values.push(types.values)})`);
  if (changedAfter !== null) {
    const [column, n] = [quoteIdentifier(changedAfter.column), values.push(changedAfter.micros.toString())];
    limits.push(`t.${column} > timestamptz 'epoch' + $${n}::int8 * interval '1 microsecond'`);
  }
  const texts = key.map(({ name }, i) => `t.${quoteIdentifier(name)}::text as k${i}`).join(', ');
  const rows = await sql.query<Record<string, string>>(
    `select ${texts} from ${quoteTable(table)} as t
      where ${limits.join(' and ')} order by ${keyOrder(key)} limit ${limit}`,
    values,
    signal,
  );
  return rows.map((row) => key.map((_, i) => row[`k${i}`] ?? ''));
}
