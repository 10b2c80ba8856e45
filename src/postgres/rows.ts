/**
 * Rows as they are now, and what the reader saw of the source while it read (I4): one READ COMMITTED statement for
 * both. Not REPEATABLE READ: with a rewriting DDL in between it finds no rows at all.
 *
 * Values are the text that the stream would carry. On failure: as `Sql`; a table that lacks what the mapping needs is
 * POSTGRES_SCHEMA, and null stands for a table that is locked, which must not hold up the stream.
 */
import type { Relation, Tuple } from '../core/change.ts';
import { AppError } from '../core/errors.ts';
import type { KeyParts } from '../core/keys.ts';
import { type Lsn, parseLsn } from '../core/lsn.ts';
import type { TableMapping } from '../core/mapping.ts';
import { parseSnapshot, type Snapshot } from '../core/snapshots.ts';
import type { Sql } from './client.ts';
import { joinKeys, keyBetween, keyOrder } from './key-sql.ts';
import { quoteIdentifier, quoteTable } from './sql.ts';

/** The server that answered, and its snapshot. */
export interface Witness {
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly inRecovery: boolean;
  readonly snapshot: Snapshot;
  /** Every commit that the snapshot sees is in the WAL before it, though perhaps not on disk; of a standby: zero. */
  readonly insertLsn: Lsn;
}

export interface RowsRead {
  readonly witness: Witness;
  /** null: there are no rows. The same object as long as the columns' types are the same. */
  readonly relation: Relation | null;
  readonly rows: readonly Tuple[];
  /** The rows' keys, as text. */
  readonly keys: readonly KeyParts[];
  /** The rows' versions: another version of a row has another. */
  readonly versions: readonly string[];
  /** There are others behind them. */
  readonly more: boolean;
}

export interface RowReader {
  readonly keys: (
    table: TableMapping,
    keys: readonly KeyParts[],
    signal: AbortSignal,
  ) => Promise<RowsRead | null>;
  /** How many of the keys, from the first, have rows that can be read at once. No row is read for it. */
  readonly fitting: (
    table: TableMapping,
    keys: readonly KeyParts[],
    signal: AbortSignal,
  ) => Promise<number | null>;
  /** The first `limit` rows of those in `(after, upTo]`; null: no bound. */
  readonly range: (
    table: TableMapping,
    range: { readonly after: KeyParts | null; readonly upTo: KeyParts | null },
    limit: number,
    signal: AbortSignal,
  ) => Promise<RowsRead | null>;
}

const WITNESS = `
  select pg_current_snapshot()::text as snapshot,
         pg_is_in_recovery() as in_recovery,
         case when pg_is_in_recovery() then '0/0' else pg_current_wal_insert_lsn()::text end as insert_lsn,
         (select system_identifier from pg_control_system())::text as system_identifier,
         case when pg_is_in_recovery() then (select lpad(to_hex(timeline_id), 8, '0') from pg_control_checkpoint())
              else left(pg_walfile_name(pg_current_wal_lsn()), 8) end as timeline`;

/** Of rows read at once, as they are stored (large values compressed). */
const MOST_BYTES = 4 * 1024 * 1024;

/** No such column, table or function (an operator of other types); a value that is not of the column's type. */
const DOES_NOT_FIT = new Set(['42703', '42P01', '42883', '42804', '22P02']);
const LOCKED = '55P03';

interface WitnessRow {
  readonly snapshot: string;
  readonly insert_lsn: string;
  readonly system_identifier: string;
  readonly timeline: string;
  readonly in_recovery: boolean;
}

/** Of the rows of a table `t`. */
interface Selection {
  /** A join, or a condition; its parameters are `values`. */
  readonly which: string;
  readonly order: string;
  readonly limit: number;
  readonly values: readonly unknown[];
}

/** One has the witness; the others are rows, from 1, with cells `c0`, `c1`, …, the first of them with `types`. */
interface FoundRow {
  readonly nth: number;
  readonly witness: string | null;
  readonly more: boolean;
  readonly [text: string]: unknown;
}

/**
 * An id later than any that a transaction had before the call. A snapshot's `xmax` is none: it is behind the last one that
 * has ended, and one that is running may be the newest.
 */
export async function nextTransactionId(sql: Sql, signal?: AbortSignal): Promise<bigint> {
  const [row] = await sql.query<{ xid: string }>('select pg_current_xact_id()::text as xid', [], signal);
  return BigInt(row?.xid ?? '');
}

export async function readWitness(sql: Sql, signal?: AbortSignal): Promise<Witness> {
  const [row] = await sql.query<WitnessRow>(WITNESS, [], signal);
  return witnessOf(row);
}

/** `sql` has a short lock timeout. */
export function createRowReader(sql: Sql): RowReader {
  const relations = new Map<string, Relation>();

  async function select<Row extends object>(
    { table }: TableMapping,
    statement: string,
    values: readonly unknown[],
    signal: AbortSignal,
  ): Promise<readonly Row[] | null> {
    try {
      return await sql.query<Row>(statement, values, signal);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      const sqlState = String(error.context['sqlState']);
      if (sqlState === LOCKED) return null;
      if (!DOES_NOT_FIT.has(sqlState)) throw error;
      throw new AppError('POSTGRES_SCHEMA', `The table ${table} no longer has what its mapping reads.`, {
        cause: error,
        context: { table, sqlState },
      });
    }
  }

  async function read(
    table: TableMapping,
    selection: Selection,
    signal: AbortSignal,
  ): Promise<RowsRead | null> {
    const rows = await select<FoundRow>(table, statementOf(table, selection), selection.values, signal);
    return rows === null ? null : rowsRead(table, rows);
  }

  function rowsRead(table: TableMapping, found: readonly FoundRow[]): RowsRead {
    const [witness, ...rows] = found.toSorted((a, b) => a.nth - b.nth);
    const columns = [...table.columns.keys()];
    const cells = columns.map((_, i) => `c${i}`);
    const tuples = rows.map((row) => cells.map((cell) => row[cell] as string | null));
    const at = table.key.map(({ name }) => columns.indexOf(name));
    const [first] = rows;
    return {
      witness: witnessOf(JSON.parse(witness?.witness ?? 'null') as WitnessRow | null),
      relation: first === undefined ? null : relationOf(table, columns, String(first['types'])),
      rows: tuples,
      keys: tuples.map((tuple) => at.map((i) => tuple[i] ?? '')),
      versions: rows.map((row) => String(row['row_version'])),
      more: rows.at(-1)?.more === true,
    };
  }

  function relationOf(table: TableMapping, columns: readonly string[], types: string): Relation {
    const id = `${table.table} ${types}`;
    const known = relations.get(id);
    if (known !== undefined) return known;
    const oids = types.split(',').map(Number);
    const relation: Relation = {
      oid: 0,
      schema: table.schema,
      name: table.name,
      replicaIdentity: 'f',
      columns: columns.map((name, i) => ({ name, typeOid: oids[i] ?? 0, typeModifier: -1, identity: true })),
    };
    relations.set(id, relation);
    return relation;
  }

  return {
    keys(table, keys, signal) {
      const values: unknown[] = [];
      const which = joinKeys(table.key, keys, values);
      return read(table, { which, order: 'wanted.n', limit: keys.length, values }, signal);
    },
    async fitting(table, keys, signal) {
      const values: unknown[] = [];
      const join = joinKeys(table.key, keys, values);
      const statement = `select min(n)::int as first
        from (select n, sum(bytes) over (order by n) - bytes as bytes_before
                from (select wanted.n, ${bytesOf(table)} as bytes from ${quoteTable(table)} as t ${join}) as t) as t
       where bytes_before >= ${MOST_BYTES}`;
      const found = await select<{ first: number | null }>(table, statement, values, signal);
      return found === null ? null : (found[0]?.first ?? keys.length + 1) - 1;
    },
    range(table, bounds, limit, signal) {
      const values: unknown[] = [];
      const which = `where ${keyBetween(table.key, bounds, values)}`;
      return read(table, { which, order: keyOrder(table.key), limit, values }, signal);
    },
  };
}

/**
 * The witness, and the rows in order, until they are too many bytes as stored; the first one always. Nothing in it waits
 * for the last row to give the first one. `concat` writes a value as the stream does; a cast would not (booleans, char(n)).
 */
function statementOf(table: TableMapping, { which, order, limit }: Selection): string {
  const columns = [...table.columns.keys()].map((name) => `t.${quoteIdentifier(name)}`);
  const values = columns.map((_, i) => `t.v${i}`);
  const texts = values.map((v, i) => `case when ${v} is distinct from null then concat(${v}) end as c${i}`);
  const types = values.map((v) => `pg_typeof(${v})::oid`).join(', ');
  return `select row_to_json(witness)::text as witness, 0 as nth, false as more, null as row_version, null as types,
                 ${values.map((_, i) => `null as c${i}`).join(', ')}
            from (${WITNESS}) as witness
           union all
          select null, t.nth, t.more, t.row_version,
                 case t.nth when 1 then array_to_string(array[${types}], ',') end, ${texts.join(', ')}
            from (select ${columns.map((column, i) => `${column} as v${i}`).join(', ')},
                         t.xmin::text || t.ctid::text as row_version, (row_number() over before)::int as nth,
                         lead(true, 1, false) over before as more, sum(${bytesOf(table)}) over before as bytes_before
                    from ${quoteTable(table)} as t ${which}
                  window before as (order by ${order} rows between unbounded preceding and 1 preceding)
                   order by ${order} limit ${limit}) as t
           where coalesce(t.bytes_before, 0) < ${MOST_BYTES}`;
}

/** Of a row `t`, as stored: nothing is decompressed for it. */
function bytesOf(table: TableMapping): string {
  return [...table.columns.keys()]
    .map((name) => `coalesce(pg_column_size(t.${quoteIdentifier(name)}), 0)`)
    .join(' + ');
}

function witnessOf(row: WitnessRow | null | undefined): Witness {
  if (row === null || row === undefined)
    throw new AppError('POSTGRES_FAILED', 'PostgreSQL did not describe itself.');
  return {
    systemIdentifier: row.system_identifier,
    timeline: Number.parseInt(row.timeline, 16),
    inRecovery: row.in_recovery,
    snapshot: parseSnapshot(row.snapshot),
    insertLsn: parseLsn(row.insert_lsn),
  };
}
