/**
 * The sample platform's tables, in any schema of any database. `blob` is not replicated: its writes are the noise that
 * real WAL is full of.
 */
import type { ClientBase } from 'pg';
import { quoteIdentifier, quoteTable } from '../postgres/sql.ts';

export const REPLICATED_TABLES = ['entity', 'relation', 'extract', 'entity_extract'] as const;
export type ReplicatedTable = (typeof REPLICATED_TABLES)[number];
export type SampleTable = ReplicatedTable | 'blob';

export const ENTITY_TYPES = [
  'campaign',
  'course-of-action',
  'eclecticiq-sighting',
  'exploit-target',
  'incident',
  'indicator',
  'package',
  'report',
  'threat-actor',
  'ttp',
] as const;
export type EntityType = (typeof ENTITY_TYPES)[number];

/** `"schema"."table"`. */
export function qualified(schema: string, table: SampleTable): string {
  return quoteTable({ schema, name: table });
}

/** Creates what is absent and leaves alone what is there. */
export async function createTables(client: ClientBase, schema = 'public'): Promise<void> {
  const name = (table: SampleTable): string => qualified(schema, table);
  await client.query(`
    create schema if not exists ${quoteIdentifier(schema)};
    create table if not exists ${name('entity')} (
      id uuid primary key,
      type text not null,
      data jsonb not null,
      meta jsonb not null default '{}',
      created_at timestamptz not null,
      last_updated_at timestamptz not null
    );
    create table if not exists ${name('relation')} (
      id uuid primary key,
      key text not null,
      subtype text,
      source_id uuid not null,
      source_type text not null,
      target_id uuid not null,
      target_type text not null,
      data jsonb not null default '{}',
      created_at timestamptz not null,
      last_updated_at timestamptz not null
    );
    create table if not exists ${name('extract')} (
      id bigint primary key,
      kind text not null,
      value text not null,
      meta jsonb not null default '{}',
      created_at timestamptz not null,
      last_updated_at timestamptz not null,
      unique (kind, value)
    );
    create table if not exists ${name('entity_extract')} (
      entity_id uuid,
      extract_id bigint,
      link_type text,
      created_at timestamptz not null,
      last_updated_at timestamptz not null,
      primary key (entity_id, extract_id, link_type)
    );
    create table if not exists ${name('blob')} (
      id bigserial primary key,
      content bytea
    );
    ${REPLICATED_TABLES.map((table) => `alter table ${name(table)} replica identity full;`).join('\n')}
  `);
}

export async function dropTables(client: ClientBase, schema = 'public'): Promise<void> {
  const names = [...REPLICATED_TABLES, 'blob' as const].map((table) => qualified(schema, table));
  await client.query(`drop table if exists ${names.join(', ')}`);
}
