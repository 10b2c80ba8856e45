/**
 * Ordinary SQL connections, and the session that every connection of ours has, the stream's included.
 *
 * Guarantee: values read here have the same text as in the stream, whatever the server's, database's or user's
 * settings are. Only booleans and 32-bit integers are converted; the rest would lose digits.
 * On failure every call rejects with an AppError, whose message names host, port and database, never the password.
 */
import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { AppError } from '../core/errors.ts';
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
const CLOSE_TIMEOUT_MS = 1_000;

/**
 * Everything that changes how a value is written as text; no name is looked up but where it says it is; each statement
 * sees what was committed when it began to read, after any wait for a lock (I4); and rows that row security hides are an
 * error, since whoever does not see a row would delete what it stands for.
 */
const SESSION = [
  'timezone=UTC',
  'datestyle=ISO',
  'intervalstyle=postgres',
  'extra_float_digits=1',
  'bytea_output=hex',
  'lc_monetary=C',
  'search_path=',
  'row_security=off',
  String.raw`default_transaction_isolation=read\ committed`,
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
export function openDatabase(
  connectionString: string,
  options: {
    readonly maxConnections?: number;
    /** A statement that waits longer for a lock fails with SQLSTATE 55P03. By default as the server is set. */
    readonly lockTimeoutMs?: number;
  } = {},
): Database {
  const config = clientConfig(connectionString);
  const { lockTimeoutMs } = options;
  if (lockTimeoutMs !== undefined)
    config.options = `${config.options ?? ''} -c lock_timeout=${lockTimeoutMs}`;
  const address = addressOf(connectionString);
  let made: Socket | undefined;
  const sockets = new Set<Socket>();
  const makeSocket = (): Socket => {
    const socket = new Socket();
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    return (made = socket);
  };
  const pool = new pg.Pool({
    ...config,
    max: options.maxConnections ?? 4,
    stream: makeSocket,
  });
  // A connection that breaks is not an event: the query on it rejects, and the next one makes another.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));

  async function connect(): Promise<pg.PoolClient> {
    made = undefined;
    const connecting = pool.connect();
    // The pool makes the socket before it returns, if it makes one; and forgets it if the server refuses us.
    const socket = made as Socket | undefined;
    try {
      return await connecting;
    } catch (error) {
      const socketAlive = socket?.destroyed === false;
      socket?.destroy();
      throw postgresFailure(error, address, socketAlive);
    }
  }

  async function query<Row extends object>(
    text: string,
    values: readonly unknown[] = [],
    signal?: AbortSignal,
  ): Promise<readonly Row[]> {
    signal?.throwIfAborted();
    const client = await connect();
    const onAbort = () => void cancel(client, config);
    signal?.addEventListener('abort', onAbort, { once: true });
    let sound = false;
    try {
      signal?.throwIfAborted();
      const { rows } = await client.query<Row>(text, [...values]);
      sound = true;
      return rows;
    } catch (error) {
      signal?.throwIfAborted();
      sound = error instanceof pg.DatabaseError; // refused, but answered
      throw postgresFailure(error, address);
    } finally {
      signal?.removeEventListener('abort', onAbort);
      client.release(!sound);
    }
  }

  return {
    address,
    query,
    async close() {
      // A half-open connection never says goodbye.
      await Promise.race([pool.end(), delay(CLOSE_TIMEOUT_MS, undefined, { ref: false })]);
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Asks with a deadline, since a half-open connection never answers. */
export function withDeadline(sql: Sql, timeoutMs: number): Sql {
  return {
    async query<Row extends object>(text: string, values?: readonly unknown[], signal?: AbortSignal) {
      const deadline = AbortSignal.timeout(timeoutMs);
      const signals = signal === undefined ? [deadline] : [deadline, signal];
      try {
        return await sql.query<Row>(text, values, AbortSignal.any(signals));
      } catch (error) {
        if (error !== deadline.reason) throw error;
        const message = `PostgreSQL has not answered for ${timeoutMs} ms.`;
        throw new AppError('POSTGRES_UNREACHABLE', message, { cause: error });
      }
    },
  };
}

/** Ends the statement on the server, then our waiting for it if it still waits. */
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
