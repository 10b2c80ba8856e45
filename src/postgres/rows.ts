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
import type { KeyKind } from '../core/mapping-schema.ts';
import type { TableMapping } from '../core/mapping.ts';
import { parseSnapshot, type Snapshot } from '../core/snapshots.ts';
import type { Sql } from './client.ts';
import { quoteIdentifier, quoteTable } from './sql.ts';

/** The server that answered, and its snapshot. */
export interface Witness {
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly inRecovery: boolean;
  readonly snapshot: Snapshot;
}

export interface RowsRead {
  readonly witness: Witness;
  /** null: there are no rows. The same object as long as the columns' types are the same. */
  readonly relation: Relation | null;
  readonly rows: readonly Tuple[];
  /** The rows' keys, as text. */
  readonly keys: readonly KeyParts[];
}

export interface RowReader {
  readonly keys: (
    table: TableMapping,
    keys: readonly KeyParts[],
    signal: AbortSignal,
  ) => Promise<RowsRead | null>;
  /** The first `limit` rows, in the order of their keys, of those in `(after, upTo]`; null: no bound. */
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
         (select system_identifier from pg_control_system())::text as system_identifier,
         case when pg_is_in_recovery() then (select lpad(to_hex(timeline_id), 8, '0') from pg_control_checkpoint())
              else left(pg_walfile_name(pg_current_wal_lsn()), 8) end as timeline`;

const CAST: Readonly<Record<KeyKind, string>> = { uuid: 'uuid', bigint: 'int8', text: 'text' };

/** No such column, table or function (an operator of other types); a value that is not of the column's type. */
const DOES_NOT_FIT = new Set(['42703', '42P01', '42883', '42804', '22P02']);
const LOCKED = '55P03';

type WitnessRow = Readonly<Record<'snapshot' | 'system_identifier' | 'timeline', string>> & {
  readonly in_recovery: boolean;
};
type FoundRow = WitnessRow & Readonly<Record<string, string | boolean | null>>;

export async function readWitness(sql: Sql, signal?: AbortSignal): Promise<Witness> {
  const [row] = await sql.query<WitnessRow>(WITNESS, [], signal);
  return witnessOf(row);
}

/** `sql` has a short lock timeout. */
export function createRowReader(sql: Sql): RowReader {
  const relations = new Map<string, Relation>();

  async function read(
    table: TableMapping,
    found: string,
    values: readonly unknown[],
    signal: AbortSignal,
  ): Promise<RowsRead | null> {
    const statement = `select * from (${WITNESS}) as witness left join (${found}) as found on true`;
    try {
      const rows = await sql.query<FoundRow>(statement, values, signal);
      return rowsRead(table, rows);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      const sqlState = String(error.context['sqlState']);
      if (sqlState === LOCKED) return null;
      if (!DOES_NOT_FIT.has(sqlState)) throw error;
      throw new AppError(
        'POSTGRES_SCHEMA',
        `The table ${table.table} no longer has what its mapping reads.`,
        {
          cause: error,
          context: { table: table.table, sqlState },
        },
      );
    }
  }

  function rowsRead(table: TableMapping, found: readonly FoundRow[]): RowsRead {
    const columns = [...table.columns.keys()];
    const rows = found.filter((row) => row['types'] !== null);
    const [first] = rows;
    const tuples = rows.map((row) => columns.map((_, i) => (row[`c${i}`] ?? null) as string | null));
    const at = table.key.map(({ name }) => columns.indexOf(name));
    return {
      witness: witnessOf(found[0]),
      relation: first === undefined ? null : relationOf(table, columns, String(first['types'])),
      rows: tuples,
      keys: tuples.map((tuple) => at.map((i) => tuple[i] ?? '')),
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
      const parts = table.key.map(({ name, kind }, i) => ({ column: `t.${quoteIdentifier(name)}`, kind, i }));
      const arrays = parts.map(({ kind, i }) => `$${i + 1}::${CAST[kind]}[]`).join(', ');
      const on = parts.map(({ column, i }) => `${column} = wanted.k${i}`).join(' and ');
      const wanted = `unnest(${arrays}) as wanted(${parts.map(({ i }) => `k${i}`).join(', ')})`;
      const found = `${selectOf(table)} join ${wanted} on ${on}`;
      return read(
        table,
        found,
        parts.map(({ i }) => keys.map((key) => key[i])),
        signal,
      );
    },
    range(table, { after, upTo }, limit, signal) {
      const order = orderOf(table);
      const values: string[] = [];
      const bound = (parts: KeyParts) => {
        return table.key.map(({ kind }, i) => `$${values.push(parts[i] ?? '')}::${CAST[kind]}`).join(', ');
      };
      const where = [
        ...(after === null ? [] : [`(${order}) > (${bound(after)})`]),
        ...(upTo === null ? [] : [`(${order}) <= (${bound(upTo)})`]),
      ];
      const filter = where.length === 0 ? '' : `where ${where.join(' and ')}`;
      return read(table, `${selectOf(table)} ${filter} order by ${order} limit ${limit}`, values, signal);
    },
  };
}

/** `concat` writes a value as the stream does; a cast would not (booleans, char(n)). */
function selectOf(table: TableMapping): string {
  const columns = [...table.columns.keys()].map((name) => `t.${quoteIdentifier(name)}`);
  const texts = columns.map((c, i) => `case when ${c} is distinct from null then concat(${c}) end as c${i}`);
  const types = columns.map((c) => `pg_typeof(${c})::oid`).join(', ');
  return `select ${texts.join(', ')}, concat_ws(',', ${types}) as types from ${quoteTable(table)} as t`;
}

/** Text by its bytes, as the indexes of keys have it. */
function orderOf({ key }: TableMapping): string {
  return key
    .map(({ name, kind }) => `t.${quoteIdentifier(name)}${kind === 'text' ? ' collate "C"' : ''}`)
    .join(', ');
}

function witnessOf(row: WitnessRow | undefined): Witness {
  if (row === undefined) throw new AppError('POSTGRES_FAILED', 'PostgreSQL did not describe itself.');
  return {
    systemIdentifier: row.system_identifier,
    timeline: Number.parseInt(row.timeline, 16),
    inRecovery: row.in_recovery,
    snapshot: parseSnapshot(row.snapshot),
  };
}
