/**
 * Ordinary SQL connections, and the session that every connection of ours has, the stream's included.
 *
 * Guarantee: values read here have the same text as in the stream, whatever the server's, database's or user's
 * settings are. Only booleans and 32-bit integers are converted; the rest would lose digits.
 * On failure every call rejects with an AppError, whose message names host, port and database, never the password.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { postgresFailure } from './failures.ts';

export interface Sql {
  /** Values are text, but for booleans, int2, int4 and oid. Aborting cancels the statement on the server too. */
  query<Row extends object>(
    text: string,
    values?: readonly unknown[],
    signal?: AbortSignal,
  ): Promise<readonly Row[]>;
}

export interface Database extends Sql {
  /** host:port/database, for messages. */
  readonly address: string;
  close(): Promise<void>;
}

const CONNECT_TIMEOUT_MS = 10_000;
const CANCEL_TIMEOUT_MS = 1_000;

/** Everything that changes how a value is written as text; and no name is looked up but where it says it is. */
const SESSION = [
  'timezone=UTC',
  'datestyle=ISO',
  'intervalstyle=postgres',
  'extra_float_digits=1',
  'bytea_output=hex',
  'lc_monetary=C',
  'search_path=',
]
  .map((setting) => `-c ${setting}`)
  .join(' ');

const PARSERS = new Map<number, (text: string) => unknown>([
  [16, (text) => text === 't'],
  [21, Number],
  [23, Number],
  [26, Number],
]);

const types: pg.CustomTypesConfig = {
  getTypeParser: (oid: number) => PARSERS.get(oid) ?? ((text: string) => text),
};

/** For pg.Client and pg.Pool. Settings of the URL's own `options` are kept, ours win. */
export function clientConfig(connectionString: string): pg.ClientConfig {
  const [base = '', query] = connectionString.split('?', 2);
  const parameters = new URLSearchParams(query);
  const options = [parameters.get('options'), SESSION].filter((part) => part !== null).join(' ');
  parameters.delete('options');
  const rest = parameters.toString();
  return {
    connectionString: rest === '' ? base : `${base}?${rest}`,
    options,
    types,
    application_name: 'eiq-platform-graph',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: CONNECT_TIMEOUT_MS,
  };
}

/** host:port/database of a connection string, without user and password. */
export function addressOf(connectionString: string): string {
  const { host, port, database } = new pg.Client({ connectionString });
  return `${host}:${port}/${database ?? ''}`;
}

/** Connects when first used, and again after a lost connection. */
export function openDatabase(connectionString: string, options: { maxConnections?: number } = {}): Database {
  const config = clientConfig(connectionString);
  const address = addressOf(connectionString);
  const pool = new pg.Pool({ ...config, max: options.maxConnections ?? 4 });
  // An idle connection that breaks is not an event: the next query makes another, or says why not.
  pool.on('error', () => undefined);

  async function query<Row extends object>(
    text: string,
    values: readonly unknown[] = [],
    signal?: AbortSignal,
  ): Promise<readonly Row[]> {
    signal?.throwIfAborted();
    let client: pg.PoolClient | undefined;
    let broken = false;
    const onAbort = () => {
      if (client !== undefined) void cancel(client, config);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      client = await pool.connect();
      signal?.throwIfAborted();
      return (await client.query<Row>(text, [...values])).rows;
    } catch (error) {
      // A statement that PostgreSQL refused leaves a sound connection behind.
      broken = !(error instanceof pg.DatabaseError);
      signal?.throwIfAborted();
      throw postgresFailure(error, address);
    } finally {
      signal?.removeEventListener('abort', onAbort);
      client?.release(broken);
    }
  }

  return { address, query, close: () => pool.end() };
}

/** Ends the statement on the server, or at least our waiting for it. */
async function cancel(client: pg.PoolClient, config: pg.ClientConfig): Promise<void> {
  // Not in the types of pg.
  const { processID, connection } = client as unknown as { processID: number; connection: pg.Connection };
  const canceller = new pg.Client(config);
  canceller.on('error', () => undefined);
  const cancelled = canceller
    .connect()
    .then(() => canceller.query('select pg_cancel_backend($1)', [processID]));
  await Promise.race([cancelled.catch(() => undefined), delay(CANCEL_TIMEOUT_MS)]);
  connection.stream.destroy();
  await canceller.end().catch(() => undefined);
}
