/** Rows to measure with, some 600 bytes each. */

const DATA = `jsonb_build_object('id', 'report-' || i, 'title', 'Report ' || i, 'text',
  (select string_agg(md5(random()::text || i || w), ' ') from generate_series(1, 12) w))`;
const INSERT = `insert into entity (id, type, data, meta, created_at, last_updated_at)
  select gen_random_uuid(), 'report', ${DATA}, '{"tlp_color": "GREEN"}', now(), now()`;
export const INSERT_ONE = `insert into entity (id, type, data, meta, created_at, last_updated_at)
  select $1::uuid, 'report', ${DATA}, '{"tlp_color": "GREEN"}', now(), now() from (select 1 as i) one`;

/** Returns a marker's LSN, behind which they are all durable. */
export async function insertRows(sql, rows, perTransaction) {
  await sql.query(`do $$ begin
    perform set_config('synchronous_commit', 'off', false);
    for t in 1..${Math.ceil(rows / perTransaction)} loop
      ${INSERT} from generate_series(1, ${perTransaction}) i;
      commit;
    end loop;
    perform set_config('synchronous_commit', 'on', false);
  end $$`);
  return mark(sql);
}

/** As many relations among `ends` entities, few of which are rows. */
export async function insertRelations(sql, rows, ends) {
  const end = (n) => `md5('end' || ${n} % ${ends})::uuid`;
  await sql.query(`insert into relation
      (id, key, subtype, source_id, source_type, target_id, target_type, created_at, last_updated_at)
    select gen_random_uuid(), 'reports', null, ${end('i')}, 'report', ${end('(i * 7 + 1)')}, 'report', now(), now()
    from generate_series(1, ${rows}) i`);
  return mark(sql);
}

/** As many relations, each of an entity to another. */
export async function insertRelationsAmong(sql, rows) {
  await sql.query(
    `with e as (select id, row_number() over () - 1 as n, count(*) over () as total from entity)
     insert into relation (id, key, subtype, source_id, source_type, target_id, target_type, created_at, last_updated_at)
     select gen_random_uuid(), 'reports', null, a.id, 'report', b.id, 'report', now(), now()
       from e a join e b on b.n = (a.n * 7 + 1) % a.total where a.n < $1`,
    [rows],
  );
  return mark(sql);
}

/** A logical message's LSN: what was committed before it comes before it. */
async function mark(sql) {
  const emitted = await sql.query(`select pg_logical_emit_message(true, '${MARK}', '') as lsn`);
  return emitted.rows[0].lsn;
}

export const MARK = 'bench';
