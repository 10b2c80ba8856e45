/**
 * The publication that the slot is read through. It comes first: a slot reads the catalogue as it was at each point of the
 * WAL, and one that is older than its publication never gets past the changes in between.
 */
import { AppError } from '../core/errors.ts';
import { ABSENT, columnEntry, PUBLICATION, type Published } from '../core/source-identity.ts';
import type { Sql } from './client.ts';
import { type TableName, quoteIdentifier, quoteTables, tableNames } from './sql.ts';
import type { TableSpec } from './table-rules.ts';

export interface PublicationOptions {
  readonly name: string;
  readonly slot: string;
  readonly tables: readonly TableName[];
  /** May a publication that exists be changed? */
  readonly manage: boolean;
}

export async function publicationExists(sql: Sql, name: string): Promise<boolean> {
  const found = await sql.query(`select from pg_publication where pubname = $1`, [name]);
  return found.length > 0;
}

/** Those that it does not publish; all if there is no publication. */
export async function missingTables(
  sql: Sql,
  { name, tables }: Pick<PublicationOptions, 'name' | 'tables'>,
): Promise<readonly TableName[]> {
  const published = await sql.query<TableName>(
    `select schemaname as schema, tablename as name from pg_publication_tables where pubname = $1`,
    [name],
  );
  return tables.filter((t) => !published.some((p) => p.schema === t.schema && p.name === t.name));
}

/** Creates it, or adds the tables that it lacks if it may. */
export async function ensurePublication(sql: Sql, options: PublicationOptions): Promise<void> {
  const { name, slot, tables, manage } = options;
  const publication = quoteIdentifier(name);
  if (!(await publicationExists(sql, name))) {
    const [older] = await sql.query(`select from pg_replication_slots where slot_name = $1`, [slot]);
    if (older !== undefined) {
      throw new AppError(
        'SOURCE_CHANGED',
        `The publication ${name} is missing, but its slot ${slot} exists and has changes that were never published.`,
      );
    }
    // A partitioned table is published under its own name, not under those of its partitions.
    await sql.query(
      `create publication ${publication} for table ${quoteTables(tables)} with (publish_via_partition_root = true)`,
    );
    return;
  }
  const missing = await missingTables(sql, options);
  if (missing.length === 0) return;
  const statement = `alter publication ${publication} add table ${quoteTables(missing)};`;
  if (!manage) {
    throw new AppError(
      'POSTGRES_PUBLICATION',
      `The publication ${name} does not publish ${tableNames(missing)}: ${statement}`,
    );
  }
  await sql.query(statement);
}

/** Types whose values change into one another without a change of their text, and without the table being rewritten. */
const TEXT_OIDS = '25, 1043';

/**
 * How each of the tables is in the publication: which table it is, by what it was put in, and whether all of its changes
 * are sent; whether tables inherit from it, whose rows are not; and what each mapped column is. Nothing if there is no
 * publication. The publication is altered by another version of its row; which tables it has is not in there. Of a column
 * whose values change with its modifier, the table is rewritten. Waits for no lock.
 */
export async function publishedTables(
  sql: Sql,
  { publication, tables }: { readonly publication: string; readonly tables: readonly TableSpec[] },
  signal?: AbortSignal,
): Promise<Published> {
  const columns = tables.flatMap(({ schema, name, key, columns }) =>
    [...columns.keys()].map((column) => {
      const isKey = key.some((part) => part.name === column);
      return { entry: columnEntry(`${schema}.${name}`, column, isKey), schema, name, column };
    }),
  );
  const rows = await sql.query<{ name: string; published: string }>(
    `select wanted.schema || '.' || wanted.name as name,
            case when c.oid is null then '${ABSENT}' else
            concat_ws('/', c.oid, case when pubinsert and pubupdate and pubdelete and pubtruncate then 'all' end,
                      case when c.relkind = 'p' then pubviaroot end,
                      (select string_agg(oid::text, ',' order by oid)
                         from (select r.oid from pg_publication_rel r
                                where prpubid = p.oid
                                  and (prrelid = c.oid or prrelid in (select relid from pg_partition_ancestors(c.oid)))
                               union all
                               select s.oid from pg_publication_namespace s where pnpubid = p.oid and pnnspid = n.oid
                               union all
                               select p.oid where puballtables) as member),
                      case when c.relkind = 'r' and exists (select from pg_inherits where inhparent = c.oid)
                           then 'inherited' end)
            end as published
       from pg_publication p cross join unnest($2::text[], $3::text[]) as wanted(schema, name)
       left join pg_namespace n on n.nspname = wanted.schema
       left join pg_class c on c.relnamespace = n.oid and c.relname = wanted.name
      where pubname = $1
     union all
     select wanted.entry,
            concat_ws('/', a.attnum,
                      case when a.atttypid in (${TEXT_OIDS}) then 'text' else concat_ws(',', a.atttypid,
                           (with recursive made_of as (
                              select a.atttypid as oid union
                              select unnest(array[typbasetype, typelem]) from made_of natural join pg_type)
                            select string_agg(e.oid || '=' || e.xmin, ',' order by e.oid)
                              from pg_enum e join made_of on enumtypid = made_of.oid)) end,
                      a.xmin,
                      case when c.relkind <> 'p' then c.relfilenode::text
                           else (with recursive part as (select c.oid union all select inhrelid
                                                           from pg_inherits join part on inhparent = part.oid)
                                 select md5(string_agg(leaf.relfilenode::text, ',' order by leaf.oid))
                                   from part join pg_class leaf on leaf.oid = part.oid) end)
       from pg_publication, unnest($4::text[], $5::text[], $6::text[], $7::text[]) as wanted(entry, schema, name, col)
       join pg_namespace n on n.nspname = wanted.schema
       join pg_class c on c.relnamespace = n.oid and c.relname = wanted.name
       join pg_attribute a on a.attrelid = c.oid and a.attname = wanted.col and a.attnum > 0 and not a.attisdropped
      where pubname = $1
     union all select '${PUBLICATION}', xmin::text from pg_publication where pubname = $1`,
    [
      publication,
      tables.map(({ schema }) => schema),
      tables.map(({ name }) => name),
      columns.map(({ entry }) => entry),
      columns.map(({ schema }) => schema),
      columns.map(({ name }) => name),
      columns.map(({ column }) => column),
    ],
    signal,
  );
  return Object.fromEntries(rows.map(({ name, published }) => [name, published]));
}

/** What the table is called now; null: it is gone. */
export async function nameOfTable(sql: Sql, oid: number): Promise<string | null> {
  const [row] = await sql.query<{ name: string }>(
    `select n.nspname || '.' || c.relname as name
       from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = $1`,
    [oid],
  );
  return row?.name ?? null;
}
