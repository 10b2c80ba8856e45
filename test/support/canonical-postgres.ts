/** Canonical content of the sample tables, computed by SQL alone (see compare.ts). Reads one snapshot, in small steps. */
import type pg from 'pg';
import { type Canonical, CanonicalBuilder } from './compare.ts';

const ROWS_AT_ONCE = 5_000;

export async function hashPostgres(pool: Pick<pg.Pool, 'connect'>, schema = 'public'): Promise<Canonical> {
  const canonical = new CanonicalBuilder();
  const client = await pool.connect();
  try {
    await client.query('begin isolation level repeatable read read only');
    for (const query of queries(`"${schema.replaceAll('"', '""')}"`)) {
      await client.query(`declare lines no scroll cursor for ${query}`);
      for (;;) {
        const { rows } = await client.query<{ line: string }>(`fetch ${ROWS_AT_ONCE} from lines`);
        for (const { line } of rows) canonical.add(line);
        if (rows.length < ROWS_AT_ONCE) break;
      }
      await client.query('close lines');
    }
    await client.query('commit');
  } finally {
    client.release();
  }
  return canonical.build();
}

function queries(schema: string): readonly string[] {
  return [
    `select json_build_array('entity', id, data->>'id', type,
        coalesce(data->>'title', data->>'name', meta->>'title'), meta->>'tlp_color',
        ${micros('created_at')}, ${micros('last_updated_at')}, data::text, meta::text)::text as line
      from ${schema}.entity order by id`,
    `select json_build_array('relation', id, key, subtype, ${micros('last_updated_at')}, source_id, target_id)::text as line
      from ${schema}.relation order by id`,
    `select json_build_array('extract', id, kind, value, meta::text,
        ${micros('created_at')}, ${micros('last_updated_at')})::text as line
      from ${schema}.extract order by id`,
    `select json_build_array('link', entity_id, extract_id,
        case when link_type in ('observed', 'sighted') then link_type else 'linked' end,
        case when link_type not in ('observed', 'sighted') then link_type end,
        ${micros('last_updated_at')})::text as line
      from ${schema}.entity_extract order by entity_id, extract_id, link_type collate "C"`,
  ];
}

/** Exact: extract() is numeric. Infinite and distant times saturate at the bounds of 64 bits. */
function micros(column: string): string {
  return `least(greatest(extract(epoch from ${column}) * 1000000, -9223372036854775808), 9223372036854775807)::bigint`;
}
