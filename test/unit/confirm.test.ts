/** The confirmation of sync-data, with readings forced into the orders that live traffic produces by chance. */
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/core/errors.ts';
import { confirm, type ConfirmSources } from '../../src/pipelines/reconcile/confirm.ts';

interface Round {
  /** PostgreSQL before and after: micros and version; null: no row. */
  readonly before: readonly [number, string] | null;
  readonly after?: readonly [number, string] | null;
  readonly graph: readonly [number, string] | null;
  /** The oldest running transaction at the end of the round; 100 is the first that began after it. */
  readonly xmin?: number;
  readonly late?: boolean;
}

/** Plays the rounds; the last one goes on for ever. */
function played(
  rounds: readonly Round[],
  maxWaitMs = 10_000,
): { sources: ConfirmSources; asked: () => number } {
  let round = 0;
  let reads = 0;
  let snapshots = 0;
  const now = (): Round => rounds[Math.min(round, rounds.length - 1)] ?? { before: null, graph: null };
  const sources: ConfirmSources = {
    maxWaitMs,
    caughtUp: () =>
      now().late === true ? Promise.reject(new AppError('TIMED_OUT', 'late')) : Promise.resolve(),
    source: {
      byIds() {
        const { before, after = before } = now();
        const row = reads++ % 2 === 0 ? before : after;
        if (reads % 2 === 0) round++;
        return Promise.resolve(row === null ? [] : [{ id: 'x', micros: BigInt(row[0]), version: row[1] }]);
      },
      snapshot: () =>
        Promise.resolve({
          xmin: BigInt(snapshots++ === 0 ? 90 : (now().xmin ?? 100)),
          xmax: 100n,
          running: [],
        }),
    },
    graph: {
      byIds() {
        const node = now().graph;
        return Promise.resolve(
          node === null ? [] : [{ id: 'x', micros: BigInt(node[0]), position: node[1] }],
        );
      },
    },
  };
  return { sources, asked: () => round };
}

const signal = new AbortController().signal;
const nothing = { ok: 0, drift: new Map(), unconfirmed: [] };

describe('a candidate is', () => {
  it.each<[string, readonly Round[], object]>([
    [
      'outdated if nothing moves',
      [{ before: [2, 'a'], graph: [1, 'p'] }],
      { drift: new Map([['x', 'outdated']]) },
    ],
    ['missing if nothing moves', [{ before: [2, 'a'], graph: null }], { drift: new Map([['x', 'missing']]) }],
    [
      'not deleted if nothing moves',
      [{ before: null, graph: [1, ''] }],
      { drift: new Map([['x', 'not_deleted']]) },
    ],
    ['ok once the graph has caught up', [{ before: [2, 'a'], graph: [2, 'p'] }], { ok: 1 }],
    ['nothing if it is gone on both sides meanwhile', [{ before: null, graph: null }], {}],
    [
      'looked at again if its row changed between the readings',
      [
        { before: [2, 'a'], after: [3, 'b'], graph: [1, 'p'] },
        { before: [3, 'b'], graph: [3, 'q'] },
      ],
      { ok: 1 },
    ],
    [
      'looked at again if its row came or went between the readings',
      [
        { before: null, after: [3, 'b'], graph: [3, 'q'] },
        { before: [3, 'b'], graph: [3, 'q'] },
      ],
      { ok: 1 },
    ],
    [
      'looked at again if the graph is ahead while an older transaction runs, whose commit may be invisible yet',
      [
        { before: [2, 'a'], graph: [3, 'q'], xmin: 99 },
        { before: [3, 'b'], graph: [3, 'q'] },
      ],
      { ok: 1 },
    ],
    [
      'strange if the graph is ahead and every older transaction is over',
      [{ before: [2, 'a'], graph: [3, 'q'], xmin: 100 }],
      { drift: new Map([['x', 'strange']]) },
    ],
    [
      'outdated even while an older transaction runs: the graph has all that is visible',
      [{ before: [2, 'a'], graph: [1, 'q'], xmin: 50 }],
      { drift: new Map([['x', 'outdated']]) },
    ],
    [
      'unconfirmed if the stream does not get there in time',
      [{ before: [2, 'a'], graph: [1, 'p'], late: true }],
      { unconfirmed: ['x'] },
    ],
  ])('%s', async (_, rounds, expected) => {
    expect(await confirm(['x'], played(rounds).sources, signal)).toEqual({ ...nothing, ...expected });
  });

  it('ok at the end if its row changes all the time and its node follows', async () => {
    const always: Round[] = Array.from({ length: 5_000 }, (_, n) => ({
      before: [n, `v${n}`],
      after: [n + 1, `v${n + 1}`],
      graph: [n - 1, `p${String(n).padStart(6, '0')}`],
    }));
    const { sources, asked } = played(always, 5);
    expect(await confirm(['x'], sources, signal)).toEqual({ ...nothing, ok: 1 });
    expect(asked()).toBeGreaterThan(1);
  });

  it('unconfirmed at the end if its row changes all the time and its node stands still', async () => {
    const always: Round = { before: [1, 'a'], after: [2, 'b'], graph: [0, 'p'] };
    expect(await confirm(['x'], played([always], 5).sources, signal)).toEqual({
      ...nothing,
      unconfirmed: ['x'],
    });
  });
});
