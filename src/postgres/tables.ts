/** Mapped tables as the catalogue has them: checked at start, all problems at once. */
import type { Sql } from './client.ts';
import { type TableName, quoteTable } from './sql.ts';
import {
  type Problem,
  type PublicationFacts,
  type TableFacts,
  type TableSpec,
  keyProblems,
  publicationProblems,
  tableProblems,
} from './table-rules.ts';

/** As many are counted: a table may never have been analyzed, or not since it was filled. */
const COUNTED_ROWS = 100_000;

export async function checkTables(
  sql: Sql,
  specs: readonly TableSpec[],
  publicationName: string,
): Promise<readonly Problem[]> {
  const publication = await readPublication(sql, publicationName);
  const facts = await readTables(sql, specs, publicationName);
  return [
    ...publicationProblems(publication),
    ...specs.flatMap((spec, index) => {
      const found = facts[index];
      return found === undefined ? [] : tableProblems(found, spec, publication);
    }),
  ];
}

/** Keys, replica identities and partitions as they are now, whatever is published. */
export async function checkKeys(sql: Sql, specs: readonly TableSpec[]): Promise<readonly Problem[]> {
  const facts = await readTables(sql, specs, '');
  return specs.flatMap((spec, index) => {
    const found = facts[index];
    return found === undefined ? [] : keyProblems(found, spec);
  });
}

/** Those of them that are partitioned. */
export async function partitionedTables<Table extends TableName>(
  sql: Sql,
  tables: readonly Table[],
): Promise<readonly Table[]> {
  const found = await sql.query<TableName>(
    `select nspname as schema, relname as name from unnest($1::text[], $2::text[]) as wanted(schema, name)
       join pg_namespace n on n.nspname = wanted.schema
       join pg_class c on c.relnamespace = n.oid and c.relname = wanted.name
      where c.relkind = 'p'`,
    namesOf(tables),
  );
  return tables.filter((t) => found.some(({ schema, name }) => schema === t.schema && name === t.name));
}

/** About how many rows there are in all: as the last analyze saw them, small tables counted. */
export async function estimateRows(sql: Sql, tables: readonly TableName[]): Promise<number> {
  let total = 0;
  for (const table of tables) {
    const name = quoteTable(table);
    const [analyzed] = await sql.query<{ rows: string }>(
      `select reltuples::bigint as rows from pg_class where oid = $1::regclass`,
      [name],
    );
    const estimate = Number(analyzed?.rows ?? 0);
    const [counted] = await sql.query<{ rows: string }>(
      `select count(*) as rows from (select from ${name} limit ${COUNTED_ROWS}) as first_rows`,
    );
    total += Math.max(estimate, Number(counted?.rows ?? 0));
  }
  return total;
}

async function readPublication(sql: Sql, name: string): Promise<PublicationFacts> {
  const [row] = await sql.query<Record<'insert' | 'update' | 'delete' | 'truncate' | 'via_root', boolean>>(
    `select pubinsert as insert, pubupdate as update, pubdelete as delete, pubtruncate as truncate,
            pubviaroot as via_root
       from pg_publication where pubname = $1`,
    [name],
  );
  if (row === undefined) return { name, found: null };
  const { via_root: viaRoot, ...operations } = row;
  return { name, found: { operations, viaRoot } };
}

/** One per table, in the order given. */
async function readTables(
  sql: Sql,
  tables: readonly TableName[],
  publication: string,
): Promise<readonly TableFacts[]> {
  const rows = await sql.query<{ facts: string }>(
    `select jsonb_build_object('schema', wanted.schema, 'name', wanted.name, 'found', case when c.oid is not null then
              jsonb_build_object(
                'kind', c.relkind,
                'unlogged', c.relpersistence <> 'p',
                'inherited', c.relkind = 'r' and exists (select from pg_inherits where inhparent = c.oid),
                'replicaIdentity', c.relreplident,
                'identityColumns', ${identityColumnsOf('c')},
                'partitions', (
                  -- pg_partition_tree would wait for whoever has locked one.
                  with recursive part (oid) as (
                    select inhrelid from pg_inherits
                     where c.relkind = 'p' and inhparent = c.oid and not inhdetachpending
                    union all
                    select inhrelid from part join pg_inherits on inhparent = part.oid where not inhdetachpending)
                  select coalesce(jsonb_agg(jsonb_build_object(
                           'schema', s.nspname, 'name', l.relname,
                           'unlogged', l.relpersistence <> 'p', 'replicaIdentity', l.relreplident,
                           'identityColumns', ${identityColumnsOf('l')}) order by s.nspname, l.relname), '[]')
                    from part join pg_class l on l.oid = part.oid join pg_namespace s on s.oid = l.relnamespace
                   where l.relkind = 'r'),
                'columns', (
                  select coalesce(jsonb_agg(jsonb_build_object(
                           'name', a.attname, 'typeOid', a.atttypid::bigint, 'type', format_type(a.atttypid, a.atttypmod),
                           'notNull', a.attnotnull, 'toastable', a.attstorage <> 'p')), '[]')
                    from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
                'uniqueKeys', (
                  select coalesce(jsonb_agg((
                           select jsonb_agg(a.attname)
                             from unnest(i.indkey[0:i.indnkeyatts - 1]) as part(attnum)
                             join pg_attribute a on a.attrelid = c.oid and a.attnum = part.attnum)), '[]')
                    from pg_index i
                   where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indimmediate
                     and i.indpred is null and i.indexprs is null),
                'orders', (
                  select coalesce(jsonb_agg((
                           select jsonb_agg(jsonb_build_object('column', a.attname, 'bytes', coalesce(l.collname = 'C', false))
                                            order by part.place)
                             from unnest(i.indkey[0:i.indnkeyatts - 1], i.indcollation[0:i.indnkeyatts - 1])
                                  with ordinality as part(attnum, sorted_by, place)
                             join pg_attribute a on a.attrelid = c.oid and a.attnum = part.attnum
                             left join pg_collation l on l.oid = part.sorted_by)), '[]')
                    from pg_index i join pg_class x on x.oid = i.indexrelid join pg_am m on m.oid = x.relam
                   where i.indrelid = c.oid and i.indisvalid and m.amname = 'btree'
                     and i.indpred is null and i.indexprs is null),
                'selectable', has_table_privilege(c.oid, 'select'),
                'rowSecurity', row_security_active(c.oid),
                'published', (
                  select jsonb_build_object(
                           'listed', exists (select from pg_publication_rel r join pg_publication b on b.oid = r.prpubid
                                              where b.pubname = $3 and r.prrelid = c.oid),
                           'columns', to_jsonb(p.attnames), 'filtered', p.rowfilter is not null)
                    from pg_publication_tables p
                   where p.pubname = $3 and p.schemaname = wanted.schema and p.tablename = wanted.name)
              ) end)::text as facts
       from unnest($1::text[], $2::text[]) with ordinality as wanted(schema, name, place)
       left join pg_namespace n on n.nspname = wanted.schema
       left join pg_class c on c.relnamespace = n.oid and c.relname = wanted.name
      order by place`,
    [...namesOf(tables), publication],
  );
  return rows.map(({ facts }) => JSON.parse(facts) as TableFacts);
}

/** As JSON; `of`: the alias of a pg_class. */
function identityColumnsOf(of: string): string {
  return `coalesce((
            select jsonb_agg(distinct a.attname)
              from pg_index i join pg_attribute a on a.attrelid = ${of}.oid and a.attnum = any (i.indkey)
             where i.indrelid = ${of}.oid
               and case ${of}.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end
          ), '[]')`;
}

function namesOf(tables: readonly TableName[]): [string[], string[]] {
  return [tables.map(({ schema }) => schema), tables.map(({ name }) => name)];
}
