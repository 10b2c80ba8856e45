/**
 * Rows of the sample platform, and the statements that write many of them at once.
 *
 * A row has its table's column names and holds every value as text, JSON columns as JSON text. Rows travel as one JSON
 * parameter that PostgreSQL reads by the table's own row type: a JSON column goes in as it is, so a number of any
 * length arrives unchanged, and nothing is escaped twice.
 */
import type { ClientBase } from 'pg';
import { qualified, type ReplicatedTable } from './tables.ts';

export interface EntityRow {
  readonly id: string;
  readonly type: string;
  readonly data: string;
  readonly meta: string;
  readonly created_at: string;
  readonly last_updated_at: string;
}

export interface RelationRow {
  readonly id: string;
  readonly key: string;
  readonly subtype: string | null;
  readonly source_id: string;
  readonly source_type: string;
  readonly target_id: string;
  readonly target_type: string;
  readonly data: string;
  readonly created_at: string;
  readonly last_updated_at: string;
}

export interface ExtractRow {
  readonly id: string;
  readonly kind: string;
  readonly value: string;
  readonly meta: string;
  readonly created_at: string;
  readonly last_updated_at: string;
}

export interface LinkRow {
  readonly entity_id: string;
  readonly extract_id: string;
  readonly link_type: string;
  readonly created_at: string;
  readonly last_updated_at: string;
}

export interface RowOf {
  readonly entity: EntityRow;
  readonly relation: RelationRow;
  readonly extract: ExtractRow;
  readonly entity_extract: LinkRow;
}

/** What a re-ingestion that found nothing new writes. */
export type TouchedEntity = Pick<EntityRow, 'id' | 'meta' | 'last_updated_at'>;

const JSON_COLUMNS: ReadonlySet<string> = new Set(['data', 'meta']);

/** A JSON array of objects; JSON columns are spliced in, not quoted. */
export function recordset(rows: readonly object[]): string {
  const objects = rows.map((row) => {
    const members = Object.entries(row as Record<string, string | null>).map(
      ([column, value]) =>
        `"${column}":${JSON_COLUMNS.has(column) && value !== null ? value : JSON.stringify(value)}`,
    );
    return `{${members.join(',')}}`;
  });
  return `[${objects.join(',')}]`;
}

/** `from` item that reads parameter $1, a {@link recordset}, as rows of the table. */
export function recordsOf(schema: string, table: ReplicatedTable): string {
  return `json_populate_recordset(null::${qualified(schema, table)}, $1::json)`;
}

/** Each of these resolves to the number of rows written. */
export async function insertRows<T extends ReplicatedTable>(
  client: ClientBase,
  schema: string,
  table: T,
  rows: readonly RowOf[T][],
): Promise<number> {
  return write(
    client,
    `insert into ${qualified(schema, table)} select * from ${recordsOf(schema, table)}`,
    rows,
  );
}

export async function touchEntities(
  client: ClientBase,
  schema: string,
  rows: readonly TouchedEntity[],
): Promise<number> {
  return write(
    client,
    `update ${qualified(schema, 'entity')} as e set meta = r.meta, last_updated_at = r.last_updated_at
     from ${recordsOf(schema, 'entity')} as r where e.id = r.id`,
    rows,
  );
}

export async function deleteRows(
  client: ClientBase,
  schema: string,
  table: 'entity' | 'relation',
  rows: readonly { readonly id: string }[],
): Promise<number> {
  return write(
    client,
    `delete from ${qualified(schema, table)} where id in (select id from ${recordsOf(schema, table)})`,
    rows,
  );
}

async function write(client: ClientBase, sql: string, rows: readonly object[]): Promise<number> {
  return (await client.query(sql, [recordset(rows)])).rowCount ?? 0;
}
