/** The replication slot. */
import { AppError } from '../core/errors.ts';
import { type Lsn, parseLsn } from '../core/lsn.ts';
import type { Sql } from './client.ts';

export interface SlotInfo {
  /** Of the walsender that reads it now. */
  readonly activePid: number | null;
  readonly confirmedFlush: Lsn;
  /** WAL between what is confirmed and where the server writes. */
  readonly lagBytes: bigint;
  /** WAL that the server keeps for it. */
  readonly retainedBytes: bigint;
  /** reserved, extended, unreserved or lost. */
  readonly walStatus: string | null;
  /** Why it no longer serves its changes; null while it does. */
  readonly invalidation: string | null;
  /** Synchronised from a primary by PostgreSQL 17 and newer: survives a promotion. */
  readonly synced: boolean;
}

/** As server_version_num. */
const FAILOVER_SINCE = 170_000;

interface SlotRow {
  readonly plugin: string | null;
  readonly database: string | null;
  readonly ours: boolean;
  readonly active_pid: number | null;
  readonly confirmed_flush: string;
  readonly lag_bytes: string;
  readonly retained_bytes: string | null;
  readonly wal_status: string | null;
  readonly invalidation: string | null;
  readonly synced: boolean;
}

/**
 * Null: there is no such slot, or it is still being made. Throws SLOT_FOREIGN: names of slots are those of the server,
 * and one of another database or plugin says nothing of ours, whatever it has confirmed.
 */
export async function inspectSlot(sql: Sql, name: string, signal?: AbortSignal): Promise<SlotInfo | null> {
  // By way of jsonb, since the columns of the last lines came with later versions.
  const [row] = await sql.query<SlotRow>(
    `with s as (select *, to_jsonb(s) as j,
                       case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as now
                  from pg_replication_slots s)
     select plugin, database, database is not distinct from current_database() and plugin = 'pgoutput' as ours,
            active_pid, confirmed_flush_lsn as confirmed_flush,
            greatest(now - confirmed_flush_lsn, 0) as lag_bytes,
            greatest(now - restart_lsn, 0) as retained_bytes,
            wal_status,
            coalesce(j ->> 'invalidation_reason', case when wal_status = 'lost' then 'wal_removed' end) as invalidation,
            coalesce((j ->> 'synced')::boolean, false) as synced
       from s where slot_name = $1 and (slot_type = 'physical' or confirmed_flush_lsn is not null)`,
    [name],
    signal,
  );
  if (row === undefined) return null;
  if (!row.ours) throw foreign(name, row);
  return {
    activePid: row.active_pid,
    confirmedFlush: parseLsn(row.confirmed_flush),
    lagBytes: BigInt(row.lag_bytes),
    retainedBytes: BigInt(row.retained_bytes ?? '0'),
    walStatus: row.wal_status,
    invalidation: row.invalidation,
    synced: row.synced,
  };
}

function foreign(name: string, { database, plugin }: SlotRow): AppError {
  const whose = database === null ? 'a physical one' : `of database ${database} and plugin ${plugin}`;
  return new AppError('SLOT_FOREIGN', `The slot ${name} is not ours: it is ${whose}.`);
}

/**
 * Waits for the transactions that run now, for as long as they do; returns from where on the slot has changes. From
 * PostgreSQL 17 on standbys may synchronise it, and `synchronized_standby_slots` holds it back behind them.
 */
export async function createSlot(sql: Sql, name: string, signal?: AbortSignal): Promise<Lsn> {
  const rows = await sql.query<{ lsn: string }>(
    (await version(sql)) < FAILOVER_SINCE
      ? `select lsn from pg_create_logical_replication_slot($1, 'pgoutput')`
      : `select lsn from pg_create_logical_replication_slot($1, 'pgoutput', failover => true)`,
    [name],
    signal,
  );
  return parseLsn(rows[0]?.lsn ?? '');
}

async function version(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ version: number }>(
    `select current_setting('server_version_num')::int as version`,
  );
  return row?.version ?? 0;
}

export async function dropSlot(sql: Sql, name: string): Promise<void> {
  await sql.query(`select pg_drop_replication_slot($1)`, [name]);
}
