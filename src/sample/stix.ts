/**
 * Brings the platform's STIX content into line with a bundle, in one transaction: what is new is inserted, what differs
 * is updated, what came from a bundle and is no longer in this one is deleted. Rows of other origin are left alone.
 * Rejects with PostgreSQL's error, nothing changed.
 */
import type { ClientBase } from 'pg';
import { recordset, recordsOf } from './rows.ts';
import { readBundle, STIX_ORIGIN } from './stix-bundle.ts';
import { qualified } from './tables.ts';

export interface ImportCounts {
  readonly inserted: number;
  readonly updated: number;
  readonly unchanged: number;
  readonly deleted: number;
  /** Objects that gave way to another with the same UUID. */
  readonly superseded: number;
  /** Objects left out because of their shape. */
  readonly malformed: number;
}

export interface ImportOptions {
  readonly schema?: string;
  /** Called with one line for each malformed object. */
  readonly onMalformed?: (line: string) => void;
}

/** Both conditions are about rows that only an import writes. */
const FROM_STIX = {
  entity: `meta->>'origin' = '${STIX_ORIGIN}'`,
  relation: `data->>'type' = 'relationship'`,
} as const;

const ROWS_PER_STATEMENT = 500;

/** `path` names a `.json` or `.json.gz`; AppError USAGE if it holds no bundle. */
export async function importStix(
  client: ClientBase,
  path: string,
  { schema = 'public', onMalformed }: ImportOptions = {},
): Promise<ImportCounts> {
  const { entities, relations, superseded, malformed } = await readBundle(path);
  for (const line of malformed) onMalformed?.(line);
  await client.query('begin');
  try {
    const entity = await converge(client, schema, 'entity', entities);
    const relation = await converge(client, schema, 'relation', relations);
    await client.query('commit');
    const inserted = entity.inserted + relation.inserted;
    const updated = entity.updated + relation.updated;
    return {
      inserted,
      updated,
      unchanged: entities.length + relations.length - inserted - updated,
      deleted: entity.deleted + relation.deleted,
      superseded,
      malformed: malformed.length,
    };
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
}

async function converge(
  client: ClientBase,
  schema: string,
  table: 'entity' | 'relation',
  rows: readonly { readonly id: string }[],
): Promise<Pick<ImportCounts, 'inserted' | 'updated' | 'deleted'>> {
  const name = qualified(schema, table);
  const columns = Object.keys(rows[0] ?? {}).filter((column) => column !== 'id');
  // An inserted row has no xmax; one that was updated has that of the lock this statement took.
  const upsert = `
    with written as (
      insert into ${name} as present select * from ${recordsOf(schema, table)}
      on conflict (id) do update set ${columns.map((column) => `${column} = excluded.${column}`).join(', ')}
      where present.* is distinct from excluded.*
      returning xmax = 0 as inserted
    )
    select count(*) filter (where inserted)::int as inserted, count(*) filter (where not inserted)::int as updated
    from written`;
  let inserted = 0;
  let updated = 0;
  for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT) {
    const parameters = [recordset(rows.slice(start, start + ROWS_PER_STATEMENT))];
    const written = await client.query<{ inserted: number; updated: number }>(upsert, parameters);
    inserted += written.rows[0]?.inserted ?? 0;
    updated += written.rows[0]?.updated ?? 0;
  }
  const deleted = await client.query(
    `delete from ${name} where ${FROM_STIX[table]} and id not in (select unnest($1::uuid[]))`,
    [rows.map(({ id }) => id)],
  );
  return { inserted, updated, deleted: deleted.rowCount ?? 0 };
}
