/**
 * A PostgreSQL source of a test's own: database, publication and slot. What the test leaks (a connection, an active
 * slot) fails its disposal.
 */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { expect } from 'vitest';
import { type Database, openDatabase } from '../../src/postgres/client.ts';
import type { PgoutputMessage } from '../../src/postgres/pgoutput.ts';
import { type ReplicationStream, type StreamOptions, openStream } from '../../src/postgres/stream.ts';
import { eventually } from './platform.ts';
import { servers } from './servers.ts';

export interface Source {
  /** Database, slot and publication have this name. */
  readonly name: string;
  readonly url: string;
  /** The test's own connection, independent of ours. */
  readonly client: pg.Client;
  readonly database: Database;
  /** `settings` are set for the walsender's session, as `-c` options. */
  open(
    options?: Partial<StreamOptions>,
    settings?: Readonly<Record<string, string>>,
  ): Promise<ReplicationStream>;
  confirmedFlush(): Promise<string>;
  walsenders(): Promise<number>;
  dispose(): Promise<void>;
}

/** `tables` is the SQL that makes them; the publication is for all tables. */
export async function createSource(prefix: string, tables: string): Promise<Source> {
  const name = `${prefix}_${randomBytes(4).toString('hex')}`;
  const { databaseUrl } = servers();
  const admin = await connect(databaseUrl);
  await admin.query(`create database ${name}`);
  const url = withDatabase(databaseUrl, name);
  const client = await connect(url);
  await client.query(tables);
  await client.query(`create publication ${name} for all tables`);
  await client.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [name]);
  const database = openDatabase(url);
  const signal = new AbortController().signal;

  async function count(query: string): Promise<number> {
    const { rows } = await admin.query<{ n: number }>(query, [name]);
    return rows[0]?.n ?? 0;
  }

  return {
    name,
    url,
    client,
    database,
    open: (options, settings = {}) => {
      const connectionString = withSettings(options?.connectionString ?? url, settings);
      return openStream({ slot: name, publication: name, ...options, connectionString }, signal);
    },
    async confirmedFlush() {
      const { rows } = await admin.query<{ lsn: string }>(
        `select confirmed_flush_lsn as lsn from pg_replication_slots where slot_name = $1`,
        [name],
      );
      return rows[0]?.lsn ?? '';
    },
    walsenders: () =>
      count(
        `select count(*)::int as n from pg_stat_activity where datname = $1 and backend_type = 'walsender'`,
      ),
    async dispose() {
      await client.end();
      await database.close();
      try {
        await eventually(
          'the test closed all its connections',
          async () =>
            (await count(`select count(*)::int as n from pg_stat_activity where datname = $1`)) === 0,
          5_000,
        );
      } finally {
        await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, [
          name,
        ]);
        await eventually(
          'the slot is free',
          async () =>
            (await count(
              `select count(*)::int as n from pg_replication_slots where active and slot_name = $1`,
            )) === 0,
        );
        await admin.query(
          `select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1`,
          [name],
        );
        await admin.query(`drop database ${name} with (force)`);
        await admin.end();
      }
    },
  };
}

export async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

export function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}

export function withSettings(url: string, settings: Readonly<Record<string, string>>): string {
  const options = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`);
  return options.length === 0 ? url : `${url}?options=${encodeURIComponent(options.join(' '))}`;
}

/** Reads until `enough` says so, without acknowledging. */
export async function readMessages(
  stream: ReplicationStream,
  enough: (messages: readonly PgoutputMessage[]) => boolean,
): Promise<PgoutputMessage[]> {
  const messages: PgoutputMessage[] = [];
  for await (const events of stream) {
    for (const event of events) if (event.type === 'message') messages.push(event.message);
    if (enough(messages)) return messages;
  }
  expect.unreachable('the stream ended');
}
