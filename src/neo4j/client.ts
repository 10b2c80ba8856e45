/** The way to Neo4j: one driver, errors wrapped once, by status code and retriability, never by text. */
import neo4j, { type Driver, isRetryableError, Neo4jError, type Transaction } from 'neo4j-driver';
import { AppError, type ErrorCode } from '../core/errors.ts';
import type { Log } from '../runtime/log.ts';

export interface Neo4jOptions {
  readonly uri: string;
  readonly username: string;
  readonly password: string;
  readonly database: string;
}

export type GraphRow = Readonly<Record<string, unknown>>;

export interface Graph {
  readonly driver: Driver;
  readonly database: string;
  /** One statement in a transaction of its own. */
  readonly run: (query: string, parameters?: object) => Promise<readonly GraphRow[]>;
  /** Commits when `work` resolves, rolls back when it rejects. Nothing is retried. */
  readonly transaction: <T>(work: (transaction: Transaction) => Promise<T>) => Promise<T>;
  readonly close: () => Promise<void>;
}

export function connectNeo4j({ uri, username, password, database }: Neo4jOptions, log: Log): Graph {
  const driver = neo4j.driver(uri, neo4j.auth.basic(username, password), {
    useBigInt: true,
    maxConnectionPoolSize: 32,
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

  async function transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    const session = driver.session({ database });
    try {
      const open = await session.beginTransaction();
      try {
        const result = await work(open);
        await open.commit();
        return result;
      } catch (error) {
        await open.rollback().catch(() => undefined);
        throw error;
      }
    } catch (error) {
      throw wrapNeo4j(error, address);
    } finally {
      await session.close().catch(() => undefined);
    }
  }

  return {
    driver,
    database,
    transaction,
    run: (query, parameters = {}) =>
      transaction(async (open) =>
        (await open.run(query, parameters)).records.map((record) => record.toObject()),
      ),
    close: () => driver.close(),
  };
}

/** Rejects if the server cannot be used as it is configured. */
export async function verify(graph: Graph): Promise<void> {
  await graph.run('RETURN 1');
}

const CODES: ReadonlyMap<string, ErrorCode> = new Map([
  ['ServiceUnavailable', 'NEO4J_UNREACHABLE'],
  ['SessionExpired', 'NEO4J_UNREACHABLE'],
  ['Neo.ClientError.Security.Unauthorized', 'NEO4J_AUTH'],
  ['Neo.ClientError.Security.AuthenticationRateLimit', 'NEO4J_AUTH'],
  ['Neo.ClientError.Security.Forbidden', 'NEO4J_AUTH'],
  ['Neo.ClientError.Database.DatabaseNotFound', 'NEO4J_DATABASE'],
  // Beside a concurrent delete, marked not retriable, though the next attempt finds another state.
  ['Neo.ClientError.Schema.ConstraintValidationFailed', 'NEO4J_CONSTRAINT'],
  ['Neo.ClientError.Statement.EntityNotFound', 'NEO4J_CONSTRAINT'],
]);

export function wrapNeo4j(error: unknown, address: string): AppError {
  if (error instanceof AppError) return error;
  if (!(error instanceof Neo4jError)) {
    return new AppError('NEO4J_FAILED', `Neo4j at ${address} failed.`, { cause: error });
  }
  const code =
    CODES.get(error.code) ??
    (isRetryableError(error)
      ? 'NEO4J_TRANSIENT'
      : error.code.startsWith('Neo.ClientError.')
        ? 'NEO4J_REJECTED'
        : 'NEO4J_FAILED');
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
