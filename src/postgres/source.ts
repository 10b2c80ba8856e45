/** What kind of PostgreSQL this is, and whether it can be a source: read once at start, and by `status`. */
import { AppError } from '../core/errors.ts';
import { type Lsn, parseLsn } from '../core/lsn.ts';
import type { Sql } from './client.ts';

export interface SourceInfo {
  /** For example 180004. */
  readonly version: number;
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly database: string;
  readonly encoding: string;
  readonly walLevel: string;
  readonly inRecovery: boolean;
  /** Where the WAL ends; in recovery, how far it is replayed. */
  readonly currentLsn: Lsn;
  readonly walSenderTimeoutMs: number;
  readonly user: string;
  readonly mayReplicate: boolean;
}

const OLDEST_VERSION = 150_000;

export async function inspectSource(sql: Sql, signal?: AbortSignal): Promise<SourceInfo> {
  // The WAL file's name begins with the timeline that is written to now; the control file knows that of the last
  // checkpoint, which lags behind a promotion.
  const [row] = await sql.query<{
    version: number;
    system_identifier: string;
    timeline: string;
    database: string;
    encoding: string;
    wal_level: string;
    in_recovery: boolean;
    current_lsn: string;
    wal_sender_timeout_ms: number;
    user: string;
    may_replicate: boolean;
  }>(
    `select current_setting('server_version_num')::int as version,
            (select system_identifier from pg_control_system()) as system_identifier,
            case when pg_is_in_recovery() then (select lpad(to_hex(timeline_id), 8, '0') from pg_control_checkpoint())
                 else left(pg_walfile_name(pg_current_wal_lsn()), 8) end as timeline,
            current_database() as database,
            current_setting('server_encoding') as encoding,
            current_setting('wal_level') as wal_level,
            pg_is_in_recovery() as in_recovery,
            case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as current_lsn,
            (select setting::int from pg_settings where name = 'wal_sender_timeout') as wal_sender_timeout_ms,
            current_user as user,
            (select rolsuper or rolreplication from pg_roles where rolname = current_user) as may_replicate`,
    [],
    signal,
  );
  if (row === undefined) throw new AppError('POSTGRES_FAILED', 'PostgreSQL did not describe itself.');
  return {
    version: row.version,
    systemIdentifier: row.system_identifier,
    timeline: Number.parseInt(row.timeline, 16),
    database: row.database,
    encoding: row.encoding,
    walLevel: row.wal_level,
    inRecovery: row.in_recovery,
    currentLsn: parseLsn(row.current_lsn),
    walSenderTimeoutMs: row.wal_sender_timeout_ms,
    user: row.user,
    mayReplicate: row.may_replicate,
  };
}

/** Throws AppError POSTGRES_WAL_LEVEL, POSTGRES_PRIVILEGE or POSTGRES_FAILED where it cannot be a source. */
export function requireSource(source: SourceInfo): void {
  const { version, walLevel, mayReplicate, user } = source;
  if (version < OLDEST_VERSION) {
    throw new AppError(
      'POSTGRES_FAILED',
      `PostgreSQL 15 or newer is needed, this is ${Math.floor(version / 10_000)}.`,
    );
  }
  if (walLevel !== 'logical') throw new AppError('POSTGRES_WAL_LEVEL', `wal_level is ${walLevel}.`);
  if (!mayReplicate) {
    throw new AppError(
      'POSTGRES_PRIVILEGE',
      `The user ${user} has no REPLICATION: alter role "${user}" replication;`,
    );
  }
  requireUtf8(source);
  requirePrimary(source);
}

/**
 * SQL_ASCII is whatever bytes were put in. In any other encoding there is text that the database cannot hold, nor be
 * asked for, and bytes are in another order than characters.
 */
export function requireUtf8({ encoding }: Pick<SourceInfo, 'encoding'>): void {
  if (encoding !== 'UTF8')
    throw new AppError('POSTGRES_FAILED', `The database has encoding ${encoding}; UTF8 is needed.`);
}

/** A standby may be behind: what is repaired from it would be older than what the graph has. */
export function requirePrimary({ inRecovery }: Pick<SourceInfo, 'inRecovery'>): void {
  if (inRecovery)
    throw new AppError('POSTGRES_FAILED', 'This is a standby. Name the primary in DATABASE_URL.');
}
