/** PostgreSQL's side of sync-data: ids and timestamps of entities, in pages by key, each page a statement of its own. */
import type { Stamp } from '../core/drift.ts';
import type { EntityFilter, EntityTable } from '../core/entity-table.ts';
import { canonicalKey, comparatorOf, type CompareKeys, type KeyParts } from '../core/keys.ts';
import type { KeyKind } from '../core/mapping-schema.ts';
import type { TableMapping } from '../core/mapping.ts';
import { parseSnapshot, type Snapshot } from '../core/snapshots.ts';
import { timestampMicros } from '../core/values.ts';
import type { Sql } from './client.ts';
import { keyBetween, keyOrder } from './key-sql.ts';
import { quoteIdentifier, quoteTable } from './sql.ts';

/** A row as one statement saw it: another version of it has another `version`. */
export interface VersionedStamp extends Stamp {
  readonly version: string;
}

export interface Seen extends Snapshot {
  /** Later than the id of any transaction that had one; `xmax` is not, if the newest of them is running. */
  readonly next: bigint;
  /** Commits wait for a standby, and can be in the stream long before a reader sees them. */
  readonly synchronous: boolean;
}

export interface SourceEntities {
  /** The first of those behind `after`, up to `upTo` and with it, in the order of keys; null: no limit. */
  readonly page: (
    range: { readonly after: string | null; readonly upTo: string | null },
    limit: number,
    signal: AbortSignal,
  ) => Promise<readonly Stamp[]>;
  readonly compare: CompareKeys;
  /** Whether a row can have the id. */
  readonly canHave: (id: string) => boolean;
  readonly byIds: (ids: readonly string[], signal: AbortSignal) => Promise<readonly VersionedStamp[]>;
  readonly snapshot: (signal: AbortSignal) => Promise<Seen>;
}

interface Row {
  readonly id: string;
  readonly updated_at: string | null;
  readonly version: string;
}

export function sourceEntities(sql: Sql, table: EntityTable, filter: EntityFilter): SourceEntities {
  const name = `${quoteTable(table.mapping)} as t`;
  // With its table: else `order by` would take the text that is selected under the same name, and no index has that.
  const column = `t.${quoteIdentifier(table.key.column)}`;
  const { kind } = table.key;
  // A uuid's order is that of its text; text needs the collation whose order is that of bytes.
  const ordered = kind === 'text' ? `${column} collate "C"` : column;
  const updatedAt = quoteIdentifier(table.updatedAt.column);
  const chosen = `select ${column}::text as id, ${updatedAt}::text as updated_at`;
  const packed = PACKED[kind];
  const limits: string[] = [];
  const values: unknown[] = [];
  if (filter.changedAfterMicros !== null) {
    values.push(filter.changedAfterMicros.toString());
    limits.push(
      `and ${updatedAt} > 'epoch'::timestamptz + $${values.length + 3}::int8 * interval '1 microsecond'`,
    );
  }
  if (filter.types !== null) {
    values.push(filter.types);
    limits.push(`and ${quoteIdentifier(table.type.column)} = any($${values.length + 3}::text[])`);
  }

  return {
    async page({ after, upTo }, limit, signal) {
      const [page] = await sql.query<{ ids: string | null; stamps: string | null }>(
        `select ${packed.select} as ids, string_agg(coalesce(updated_at, ''), ',') as stamps from (
           ${chosen} from ${name}
           where ($1::${kind} is null or ${ordered} > $1::${kind})
             and ($2::${kind} is null or ${ordered} <= $2::${kind}) ${limits.join(' ')}
           order by ${ordered} limit $3) as page`,
        [after, upTo, limit, ...values],
        signal,
      );
      if (page?.ids == null || page.stamps === null) return [];
      const stamps = page.stamps.split(',');
      return packed.unpack(page.ids).map((id, i) => ({ id, micros: timestampMicros(stamps[i] ?? '') }));
    },
    compare: comparatorOf(kind),
    canHave: (id) => canBe(kind, id),
    async byIds(ids, signal) {
      const possible = ids.filter((id) => canBe(kind, id));
      const rows = await sql.query<Row>(
        `${chosen}, xmin::text || ctid::text as version from ${name} where ${column} = any($1::${kind}[])`,
        [possible],
        signal,
      );
      return rows.map((row) => ({ ...stampOf(row), version: row.version }));
    },
    async snapshot(signal) {
      const [row] = await sql.query<{ snapshot: string; next: string | null; synchronous: boolean }>(
        `select pg_current_snapshot()::text as snapshot,
                case when not pg_is_in_recovery() then pg_current_xact_id()::text end as next,
                current_setting('synchronous_standby_names') <> '' as synchronous`,
        [],
        signal,
      );
      const snapshot = parseSnapshot(row?.snapshot ?? '');
      // A standby gives no ids.
      const next = row?.next == null ? snapshot.xmax : BigInt(row.next);
      return { ...snapshot, next, synchronous: row?.synchronous ?? false };
    },
  };
}

/** A page of ids as one value: a row for each is more work, for both ends, than all the rest of a comparison. */
const PACKED: Readonly<Record<KeyKind, { select: string; unpack: (text: string) => string[] }>> = {
  uuid: { select: `string_agg(id, ',')`, unpack: (text) => text.split(',') },
  bigint: { select: `string_agg(id, ',')`, unpack: (text) => text.split(',') },
  text: { select: `array_to_json(array_agg(id))::text`, unpack: (text) => JSON.parse(text) as string[] },
};

/** As PostgreSQL writes it: a uuid in capitals is the row's name to PostgreSQL, but not to the graph. */
function canBe(kind: KeyKind, id: string): boolean {
  return canonicalKey([{ name: '', kind }], [id])?.[0] === id;
}

function stampOf({ id, updated_at }: Row): Stamp {
  return { id, micros: timestampMicros(updated_at ?? '') };
}

/** Keys, as text, of the table's rows of which one of `columns` is one of `ids`: a page, in the order of keys. */
export async function keysByColumns(
  sql: Sql,
  table: TableMapping,
  by: {
    readonly columns: readonly string[];
    readonly kind: KeyKind;
    readonly ids: readonly string[];
  },
  { after, limit }: { readonly after: KeyParts | null; readonly limit: number },
  signal: AbortSignal,
): Promise<readonly KeyParts[]> {
  const values: unknown[] = [by.ids.filter((id) => canBe(by.kind, id))];
  const key = table.key.map(({ name }) => `t.${quoteIdentifier(name)}::text`).join(', ');
  const conditions = by.columns.map((column) => `t.${quoteIdentifier(column)} = any($1::${by.kind}[])`);
  const rows = await sql.query<{ key: string[] }>(
    `select to_jsonb(array[${key}])::text as key from ${quoteTable(table)} as t
      where (${conditions.join(' or ')}) and ${keyBetween(table.key, { after, upTo: null }, values)}
      order by ${keyOrder(table.key)} limit ${limit}`,
    values,
    signal,
  );
  return rows.map((row) => JSON.parse(String(row.key)) as string[]);
}
