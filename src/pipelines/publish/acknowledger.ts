/**
 * Tells PostgreSQL how far everything is in Kafka (I9): first the control topic, durable, then the slot. Offers are
 * merged: at most one is being recorded, and the newest one waits.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Safe } from '../../core/acknowledgements.ts';
import type { Lsn } from '../../core/lsn.ts';

export interface Acknowledger {
  readonly offer: (safe: Safe) => void;
  /** Resolves once everything offered so far is acknowledged. Rejects if it could not be. */
  readonly drain: () => Promise<void>;
}

export interface AcknowledgerOptions {
  /** Durable when resolved. */
  readonly record: (safe: Safe) => Promise<void>;
  readonly acknowledge: (lsn: Lsn) => void;
  /** Pause after each acknowledgement, so that a trickle of transactions does not write a record for each. */
  readonly intervalMs: number;
  readonly onFailure: (error: unknown) => void;
}

export function createAcknowledger(options: AcknowledgerOptions): Acknowledger {
  const { record, acknowledge, intervalMs, onFailure } = options;
  let waiting: Safe | null = null;
  let running: Promise<void> | null = null;
  let hurry = new AbortController();

  async function run(): Promise<void> {
    while (waiting !== null) {
      const safe: Safe = waiting;
      waiting = null;
      await record(safe);
      acknowledge(safe.lsn);
      await delay(intervalMs, undefined, { signal: hurry.signal }).catch(() => undefined);
    }
  }

  function start(): Promise<void> {
    running ??= run().finally(() => (running = null));
    return running;
  }

  return {
    offer(safe) {
      waiting = safe;
      start().catch(onFailure);
    },
    async drain() {
      hurry.abort();
      while (waiting !== null || running !== null) await start();
      hurry = new AbortController();
    },
  };
}
