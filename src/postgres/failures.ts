/** What went wrong, in our words: decided by SQLSTATE and by the system's error codes, never by a message's text. */
import pg from 'pg';
import { AppError, type ErrorCode } from '../core/errors.ts';

/** Codes of Node that mean "no connection", or "it is gone". */
const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT', // a socket file that is not there
]);

interface Meaning {
  readonly code: ErrorCode;
  readonly says: string;
}

const AWAY: Meaning = { code: 'POSTGRES_UNREACHABLE', says: 'cannot be reached' };

/** By whole SQLSTATE, else by its class (two characters); what is listed nowhere is fatal. */
const MEANINGS: Readonly<Record<string, Meaning>> = {
  '08': AWAY,
  '28': { code: 'POSTGRES_AUTH', says: 'refuses the user or the password' },
  '3D000': { code: 'POSTGRES_AUTH', says: 'has no such database' },
  '42501': { code: 'POSTGRES_PRIVILEGE', says: 'denies a privilege' },
  '53100': { code: 'POSTGRES_UNREACHABLE', says: 'has no disk space left' },
  '53200': { code: 'POSTGRES_UNREACHABLE', says: 'has no memory left' },
  '53300': {
    code: 'POSTGRES_UNREACHABLE',
    says: 'has no connection left (max_connections, max_wal_senders)',
  },
  '57P01': { code: 'POSTGRES_UNREACHABLE', says: 'is shutting down' },
  '57P02': { code: 'POSTGRES_UNREACHABLE', says: 'has crashed and recovers' },
  '57P03': { code: 'POSTGRES_UNREACHABLE', says: 'is starting up or shutting down' },
  '57P05': AWAY,
};

/**
 * `address` is host:port/database. `socketAlive`: the failure left the connection's socket open, so it was not the
 * network's. An AppError passes unchanged.
 */
export function postgresFailure(error: unknown, address: string, socketAlive = false): AppError {
  if (error instanceof AppError) return error;
  const sqlState = sqlStateOf(error);
  const { code, says } = meaningOf(error, sqlState, socketAlive);
  // What it denies, and of what, by name: no text of that SQLSTATE has values.
  const what = sqlState === '42501' && error instanceof Error ? `: ${error.message}` : '';
  return new AppError(code, `PostgreSQL at ${address} ${says}${what}.`, {
    cause: error,
    context: { address, sqlState },
  });
}

/** undefined: the error does not come from the server. */
export function sqlStateOf(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

function meaningOf(error: unknown, sqlState: string | undefined, socketAlive: boolean): Meaning {
  if (sqlState !== undefined) {
    const meaning = MEANINGS[sqlState] ?? MEANINGS[sqlState.slice(0, 2)];
    return meaning ?? { code: 'POSTGRES_FAILED', says: `refuses a statement (SQLSTATE ${sqlState})` };
  }
  const code = systemCodeOf(error);
  if (code !== undefined) {
    return UNREACHABLE.has(code)
      ? { ...AWAY, says: `cannot be reached (${code})` }
      : { code: 'POSTGRES_FAILED', says: `cannot be used (${code})` };
  }
  // pg gives no code to what it finds out by itself: that the connection ended or was not made in time, or, and then
  // the socket is still there, that it cannot answer what the server asks for.
  if (!isPlainError(error)) return { code: 'POSTGRES_FAILED', says: 'could not be asked' };
  return socketAlive
    ? { code: 'POSTGRES_AUTH', says: 'asks for a password, or for TLS, that DATABASE_URL does not have' }
    : AWAY;
}

function systemCodeOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' ? code : undefined;
}

function isPlainError(error: unknown): boolean {
  return error instanceof Error && Object.getPrototypeOf(error) === Error.prototype;
}
