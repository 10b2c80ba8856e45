/**
 * Does a reading see everything that was received before it (I4)? Holds the transactions that no snapshot has seen yet,
 * and asks for a snapshot every second, more often while there are many.
 *
 * Guarantee: a transaction leaves only once a snapshot of the stream's own server has seen it. On failure: another server
 * behind the same address ends the session (the next one decides what that means, I6); a snapshot that cannot be had
 * for now is asked for again.
 */
import { AppError } from '../../core/errors.ts';
import { createUnseenXids, invisibleIn, type UnseenXids } from '../../core/snapshots.ts';
import type { SourceRecord } from '../../kafka/control.ts';
import type { Sql } from '../../postgres/client.ts';
import { readWitness, type Witness } from '../../postgres/rows.ts';
import { every } from '../../runtime/every.ts';
import { mayRetry } from '../../runtime/retry.ts';
import type { Prepared } from './prepare.ts';

export interface Visibility {
  readonly received: (xid: number) => void;
  /** To be taken before a reading. */
  readonly expect: () => Expectation;
  /** For the control topic. */
  readonly recorded: () => SourceRecord['xids'];
  readonly watch: (signal: AbortSignal) => Promise<void>;
}

/** Of a reading: everything that is received until it is ended, even if another snapshot has seen it meanwhile. */
export interface Expectation {
  readonly metBy: (witness: Witness) => boolean;
  readonly end: () => void;
}

const LOOK_EVERY_MS = 1000;
const CROWDED_RANGES = 100;
const LOOK_EVERY_MS_CROWDED = 100;

export async function createVisibility(
  sql: Sql,
  { state, observed }: Pick<Prepared, 'state' | 'observed'>,
  signal: AbortSignal,
): Promise<Visibility> {
  const recorded = (state.source?.xids ?? []).map(([from, to]) => [BigInt(from), BigInt(to)] as const);
  const unseen = createUnseenXids(recorded, snapshotOf(await readWitness(sql, signal)));
  const expected = new Set<UnseenXids>();

  function snapshotOf({ systemIdentifier, timeline, inRecovery, snapshot }: Witness): Witness['snapshot'] {
    const same = systemIdentifier === observed.systemIdentifier && timeline === observed.timeline;
    if (same && !inRecovery) return snapshot;
    throw new AppError('STREAM_LOST', 'DATABASE_URL leads to another server than that of the stream.');
  }

  async function look(): Promise<void> {
    try {
      unseen.seenBy(snapshotOf(await readWitness(sql)));
    } catch (error) {
      if (!(error instanceof AppError) || error.code === 'STREAM_LOST' || !mayRetry(error)) throw error;
    }
  }

  return {
    received(xid) {
      unseen.received(xid);
      for (const xids of expected) xids.received(xid);
    },
    expect() {
      const xids = unseen.fork();
      expected.add(xids);
      return {
        metBy: (witness) => invisibleIn(xids.ranges(), snapshotOf(witness)).length === 0,
        end: () => expected.delete(xids),
      };
    },
    recorded: () => unseen.ranges().map(([from, to]) => [from.toString(), to.toString()]),
    async watch(signal) {
      let lookedAt = performance.now();
      await every(LOOK_EVERY_MS_CROWDED, signal, async () => {
        const crowded = unseen.ranges().length > CROWDED_RANGES;
        if (!crowded && performance.now() - lookedAt < LOOK_EVERY_MS) return;
        await look();
        lookedAt = performance.now();
      });
    },
  };
}
