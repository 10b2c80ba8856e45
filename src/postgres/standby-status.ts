/**
 * The standby status update: how PostgreSQL learns what it may forget.
 *
 * Written by us and not by the library, whose `acknowledge(lsn)` sends lsn + 1: when the next transaction's commit
 * record starts right there, PostgreSQL takes it for received, and never sends it again.
 *
 * Source: https://www.postgresql.org/docs/current/protocol-replication.html, "Standby status update"
 */
import type { Lsn } from '../core/lsn.ts';
import { POSTGRES_EPOCH_MICROS } from './pgoutput.ts';

/** `flushed` 0/0: keeps the connection alive and moves nothing. `replyRequested`: answer at once, so that we hear you. */
export function standbyStatus(flushed: Lsn, nowMs: number, replyRequested: boolean): Buffer {
  const status = Buffer.alloc(34);
  status.write('r', 'latin1');
  status.writeBigUInt64BE(flushed, 1); // written
  status.writeBigUInt64BE(flushed, 9); // flushed: the one that counts
  status.writeBigUInt64BE(flushed, 17); // applied
  status.writeBigInt64BE(BigInt(Math.round(nowMs * 1000)) - POSTGRES_EPOCH_MICROS, 25);
  status.writeUInt8(replyRequested ? 1 : 0, 33);
  return status;
}
