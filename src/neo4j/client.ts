/**
 * The way to Neo4j: one driver, and errors wrapped once, by status code and retriability, never by text.
 *
 * A transaction ends: the server ends it after TRANSACTION_MS, and with it the locks of a process that was paused
 * half-way; what a silent network leaves unanswered is given up SILENCE_MS later as NEO4J_UNREACHABLE. What takes as
 * long as the graph is large is waited for while the server answers on another connection, which is looked at every
 * LOOK_EVERY_MS; a look that goes unanswered for SILENCE_MS gives it up in the same way.
 */
import neo4j, {
  type Driver,
  isRetryableError,
  Neo4jError,
  type Session,
  type Transaction,
} from 'neo4j-driver';
import { AppError, type ErrorCode, isAppError } from '../core/errors.ts';
import type { Log } from '../runtime/log.ts';
import { whileAlive } from '../runtime/while-alive.ts';

export interface Neo4jOptions {
  readonly uri: string;
  readonly username: string;
  readonly password: string;
  readonly database: string;
}

export type GraphRow = Readonly<Record<string, unknown>>;

export interface TransactionOptions {
  /** TRANSACTION_MS by default; Infinity for what takes as long as the graph is large. */
  readonly timeoutMs?: number;
}

export interface Graph {
  readonly driver: Driver;
  readonly database: string;
  /** One statement in a transaction of its own. */
  readonly run: (
    query: string,
    parameters?: object,
    options?: TransactionOptions,
  ) => Promise<readonly GraphRow[]>;
  /** Commits when `work` resolves, rolls back when it rejects. Nothing is retried. */
  readonly transaction: <T>(
    work: (transaction: Transaction) => Promise<T>,
    options?: TransactionOptions,
  ) => Promise<T>;
  readonly close: () => Promise<void>;
}

export const TRANSACTION_MS = 30_000;
const SILENCE_MS = 10_000;
const LOOK_EVERY_MS = 3_000;

export function connectNeo4j(
  { uri, username, password, database }: Neo4jOptions,
  log: Log,
  silenceMs = SILENCE_MS,
): Graph {
  const driver = neo4j.driver(uri, neo4j.auth.basic(username, password), {
    useBigInt: true,
    maxConnectionPoolSize: 64,
    connectionAcquisitionTimeout: 10_000,
    connectionTimeout: 5_000,
    maxTransactionRetryTime: 0,
    telemetryDisabled: true,
    logging: {
      level: 'warn',
      logger: (level) => {
        log.debug({ level }, 'neo4j driver');
      },
    },
  });
  const address = new URL(uri).host;

  async function inSession<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const session = driver.session({ database });
    try {
      return await work(session);
    } catch (error) {
      throw error instanceof Neo4jError ? wrapNeo4j(error, address) : error;
    } finally {
      await session.close().catch(() => undefined);
    }
  }

  /** That the server refuses is an answer too. */
  async function look(): Promise<void> {
    const answer = inSession((session) => session.run('RETURN 1', {}, { timeout: silenceMs }));
    await answeredWithin(silenceMs, answer, address).catch((error: unknown) => {
      if (!isAppError(error) || error.code === 'NEO4J_UNREACHABLE') throw error;
    });
  }

  const within = <T>(timeoutMs: number, work: (session: Session) => Promise<T>): Promise<T> =>
    timeoutMs === Infinity
      ? whileAlive(inSession(work), look, LOOK_EVERY_MS)
      : answeredWithin(timeoutMs + silenceMs, inSession(work), address);

  const transaction: Graph['transaction'] = (work, { timeoutMs = TRANSACTION_MS } = {}) =>
    within(timeoutMs, async (session) => {
      const open = await session.beginTransaction({ timeout: serverLimit(timeoutMs) });
      try {
        const result = await work(open);
        await open.commit();
        return result;
      } catch (error) {
        await open.rollback().catch(() => undefined);
        throw error;
      }
    });

  return {
    driver,
    database,
    transaction,
    run: (query, parameters = {}, { timeoutMs = TRANSACTION_MS } = {}) =>
      within(timeoutMs, async (session) => {
        const { records } = await session.run(query, parameters, { timeout: serverLimit(timeoutMs) });
        return records.map((record) => record.toObject());
      }),
    close: () => driver.close(),
  };
}

/** To the driver, 0 is no limit. */
function serverLimit(timeoutMs: number): number {
  return timeoutMs === Infinity ? 0 : timeoutMs;
}

/** Rejects if the server cannot be used as it is configured. */
export async function verify(graph: Graph): Promise<void> {
  await graph.run('RETURN 1');
}

/** What goes unanswered is left to itself: its connection is of no use any more, and its locks end with the server's timeout. */
async function answeredWithin<T>(limitMs: number, answer: Promise<T>, address: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new AppError('NEO4J_UNREACHABLE', `Neo4j at ${address} does not answer.`));
    }, limitMs);
  });
  try {
    return await Promise.race([answer, silence]);
  } finally {
    clearTimeout(timer);
  }
}

const CODES: ReadonlyMap<string, ErrorCode> = new Map([
  ['ServiceUnavailable', 'NEO4J_UNREACHABLE'],
  ['SessionExpired', 'NEO4J_UNREACHABLE'],
  // The driver's own, without a word of the server: no connection was free in time, as after a pause of this process.
  ['N/A', 'NEO4J_UNREACHABLE'],
  ['Neo.ClientError.Security.Unauthorized', 'NEO4J_AUTH'],
  ['Neo.ClientError.Security.AuthenticationRateLimit', 'NEO4J_AUTH'],
  ['Neo.ClientError.Security.Forbidden', 'NEO4J_AUTH'],
  ['Neo.ClientError.Database.DatabaseNotFound', 'NEO4J_DATABASE'],
  // Ended by the server, with its locks: nothing of it is in the graph.
  ['Neo.ClientError.Transaction.TransactionTimedOut', 'NEO4J_TRANSIENT'],
  ['Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration', 'NEO4J_TRANSIENT'],
  ['Neo.ClientError.Transaction.Terminated', 'NEO4J_TRANSIENT'],
  ['Neo.ClientError.Transaction.LockClientStopped', 'NEO4J_TRANSIENT'],
  // Beside a concurrent delete, marked not retriable, though the next attempt finds another state.
  ['Neo.ClientError.Schema.ConstraintValidationFailed', 'NEO4J_CONSTRAINT'],
  ['Neo.ClientError.Statement.EntityNotFound', 'NEO4J_CONSTRAINT'],
  // What a value too large for its index ends in. If it is the server that is ill, moving past the record fails as well.
  ['Neo.DatabaseError.Statement.ExecutionFailed', 'NEO4J_REJECTED'],
]);

export function wrapNeo4j(error: Neo4jError, address: string): AppError {
  const code = CODES.get(error.code) ?? codeOf(error);
  const what = {
    NEO4J_UNREACHABLE: 'cannot be reached',
    NEO4J_AUTH: 'refused the credentials',
    NEO4J_DATABASE: 'has no such database',
  }[code as string];
  return new AppError(code, `Neo4j at ${address} ${what ?? `answered ${error.code}`}.`, {
    cause: error,
    context: { status: error.code },
  });
}

function codeOf(error: Neo4jError): ErrorCode {
  if (isRetryableError(error)) return 'NEO4J_TRANSIENT';
  if (/^Neo\.\w+\.Schema\./.test(error.code)) return 'NEO4J_SCHEMA';
  return error.code.startsWith('Neo.ClientError.') ? 'NEO4J_REJECTED' : 'NEO4J_FAILED';
}
