/** The confirmation of sync-data, with readings forced into the orders that live traffic produces by chance. */
import { describe, expect, it } from 'vitest';
import { verdictByContent } from '../../src/core/content.ts';
import { AppError } from '../../src/core/errors.ts';
import { confirm, type Confirming } from '../../src/pipelines/reconcile/confirm.ts';

/** Micros, version or position, and content, which is the same if it is not given. */
type Side = readonly [micros: number, version: string, title?: string];

interface Round {
  /** PostgreSQL before and after; null: no row. */
  readonly before: Side | null;
  readonly after?: Side | null;
  readonly graph: Side | null;
  /** The graph as it was first read, if it is read twice. */
  readonly earlier?: Side | null;
  /** The oldest running transaction at the end of the round; 100 is the first that began after it. */
  readonly xmin?: number;
  readonly next?: number;
  /** Commits wait for a standby. */
  readonly synchronous?: boolean;
  readonly late?: boolean;
}

/** Plays the rounds; the last one goes on for ever. */
function played(
  rounds: readonly Round[],
  maxWaitMs = 10_000,
  readTwice = false,
): { confirmed: () => Promise<object>; asked: () => number } {
  let round = 0;
  let reads = 0;
  let looks = 0;
  const now = (): Round => rounds[Math.min(round, rounds.length - 1)] ?? { before: null, graph: null };
  const stamp = ([micros, version, title]: Side) => ({
    id: 'x',
    micros: BigInt(micros),
    version,
    position: version,
    content: new Map([['title', title]]),
  });
  const confirming: Confirming = {
    maxWaitMs,
    readTwice,
    caughtUp: () =>
      now().late === true ? Promise.reject(new AppError('TIMED_OUT', 'late')) : Promise.resolve(),
    snapshot: () => {
      const { xmin = 100, next = 100, synchronous = false } = now();
      return Promise.resolve({
        xmin: BigInt(xmin),
        xmax: BigInt(xmin),
        next: BigInt(next),
        running: [],
        synchronous,
      });
    },
  };
  const comparing = {
    verdict: verdictByContent,
    source: {
      byIds() {
        const { before, after = before } = now();
        const row = reads++ % 2 === 0 ? before : after;
        if (reads % 2 === 0) round++;
        return Promise.resolve(row === null ? [] : [stamp(row)]);
      },
    },
    graph: {
      byIds() {
        const { graph, earlier = graph } = now();
        const node = readTwice && looks++ % 2 === 0 ? earlier : graph;
        return Promise.resolve(node === null ? [] : [stamp(node)]);
      },
    },
  };
  return {
    async confirmed() {
      const { drift, ...rest } = await confirm(['x'], comparing, confirming, signal);
      return { ...rest, drift: new Map(drift.map(({ id, verdict }) => [id, verdict])) };
    },
    asked: () => round,
  };
}

const signal = new AbortController().signal;
const nothing = { ok: 0, drift: new Map(), unconfirmed: [], inTime: true };

it('a row that changes all the time is ok in the first round in which the graph equals either reading', async () => {
  const busy = played([
    { before: [2, 'a'], after: [3, 'b'], graph: [1, 'p'] },
    { before: [4, 'c'], after: [5, 'd'], graph: [5, 'q'] },
    { before: [6, 'e'], after: [7, 'f'], graph: [1, 'r'] },
  ]);
  expect(await busy.confirmed()).toEqual({ ...nothing, ok: 1 });
  expect(busy.asked()).toBe(2);
});

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
      'nothing if it is gone on both sides, however long another transaction runs',
      [{ before: null, graph: null, xmin: 99 }],
      {},
    ],
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
      'looked at again while a transaction runs that began after the first reading, and is in the graph',
      [
        { before: [2, 'a'], graph: [3, 'q'], xmin: 100, next: 101 },
        { before: [2, 'a'], graph: [3, 'q'], xmin: 100, next: 105 },
        { before: [3, 'b'], graph: [3, 'q'], xmin: 105, next: 105 },
      ],
      { ok: 1 },
    ],
    [
      'strange once what ran when it was first seen is over, though others run',
      [
        { before: [2, 'a'], graph: [3, 'q'], xmin: 100, next: 101 },
        { before: [2, 'a'], graph: [3, 'q'], xmin: 101, next: 105 },
      ],
      { drift: new Map([['x', 'strange']]) },
    ],
    [
      'looked at again if it is missing while a commit may wait for a standby: it may have been deleted',
      [
        { before: [2, 'a'], graph: null, xmin: 100, next: 101, synchronous: true },
        { before: null, graph: null, xmin: 101, next: 101, synchronous: true },
      ],
      {},
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
      'different if only its content is, and nothing moves',
      [{ before: [2, 'a', 'new'], graph: [2, 'p', 'old'] }],
      { drift: new Map([['x', 'different']]) },
    ],
    [
      'looked at again if its content changed between the readings, its timestamp not',
      [
        { before: [2, 'a', 'old'], after: [2, 'b', 'new'], graph: [2, 'q', 'new'] },
        { before: [2, 'b', 'new'], graph: [2, 'q', 'new'] },
      ],
      { ok: 1 },
    ],
    [
      'looked at again if its content differs while an older transaction runs: the graph may be the newer one',
      [
        { before: [2, 'a', 'old'], graph: [2, 'q', 'new'], xmin: 99 },
        { before: [2, 'b', 'new'], graph: [2, 'q', 'new'] },
      ],
      { ok: 1 },
    ],
    [
      'unconfirmed if the stream does not get there in time',
      [{ before: [2, 'a'], graph: [1, 'p'], late: true }],
      { unconfirmed: ['x'], inTime: false },
    ],
  ])('%s', async (_, rounds, expected) => {
    expect(await played(rounds).confirmed()).toEqual({ ...nothing, ...expected });
  });

  it.each<[string, readonly Round[], object]>([
    [
      'outdated if nothing moves',
      [{ before: [2, 'a'], earlier: [1, 'p'], graph: [1, 'p'] }],
      { drift: new Map([['x', 'outdated']]) },
    ],
    [
      'looked at again if its node has got another timestamp',
      [
        { before: [3, 'a'], earlier: [1, 'p'], graph: [2, 'p'] },
        { before: [3, 'a'], graph: [3, 'p'] },
      ],
      { ok: 1 },
    ],
    [
      'looked at again if its node has got other content',
      [
        { before: [3, 'a', 'now'], earlier: [3, 'p', 'then'], graph: [3, 'p', 'between'] },
        { before: [3, 'a', 'now'], graph: [3, 'p', 'now'] },
      ],
      { ok: 1 },
    ],
    [
      'looked at again if its node has moved on',
      [
        { before: [3, 'a'], earlier: [1, 'p'], graph: [1, 'q'] },
        { before: [3, 'a'], graph: [3, 'q'] },
      ],
      { ok: 1 },
    ],
    [
      'looked at again if its node came or went',
      [
        { before: [3, 'a'], earlier: [3, 'p'], graph: null },
        { before: [3, 'a'], earlier: null, graph: [2, 'q'] },
        { before: [3, 'a'], graph: [3, 'q'] },
      ],
      { ok: 1 },
    ],
  ])('%s, where the graph is read twice', async (_, rounds, expected) => {
    expect(await played(rounds, 10_000, true).confirmed()).toEqual({ ...nothing, ...expected });
  });

  it('ok at the end if its row changes all the time and its node follows', async () => {
    const always: Round[] = Array.from({ length: 5_000 }, (_, n) => ({
      before: [n, `v${n}`],
      after: [n + 1, `v${n + 1}`],
      graph: [n - 1, `p${String(n).padStart(6, '0')}`],
    }));
    const { confirmed, asked } = played(always, 250);
    expect(await confirmed()).toEqual({ ...nothing, ok: 1 });
    expect(asked()).toBeGreaterThan(1);
  });

  it('unconfirmed at the end if its row changes all the time and its node stands still', async () => {
    const always: Round = { before: [1, 'a'], after: [2, 'b'], graph: [0, 'p'] };
    expect(await played([always], 5).confirmed()).toEqual({
      ...nothing,
      unconfirmed: ['x'],
    });
  });
});
