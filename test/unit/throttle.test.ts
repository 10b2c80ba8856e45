import { describe, expect, it } from 'vitest';
import type { Position } from '../../src/core/position.ts';
import { throttle } from '../../src/pipelines/reconcile/throttle.ts';
import { lagMs } from '../../src/pipelines/lag.ts';

const LIMIT_MS = 1000;

/** A lag that is another one at each look; the last one stays. */
function played(lags: readonly (number | null)[], everyMs: number) {
  const looks: number[] = [];
  const said: string[] = [];
  const lagMs = () => {
    const lag = lags[Math.min(looks.length, lags.length - 1)];
    looks.push(performance.now());
    return Promise.resolve(lag ?? null);
  };
  const pace = throttle({
    limitMs: LIMIT_MS,
    lagMs,
    ...moving(),
    everyMs,
    onPause: (lag) => said.push(`paused at ${String(lag)}`),
    onResume: (pausedMs) => said.push(pausedMs > 0 ? 'resumed' : 'resumed at once'),
  });
  return { pace, looks, said };
}

function moving() {
  let moves = 0;
  return { mark: () => Promise.resolve(String(moves++)), patienceMs: 0 };
}

const { signal } = new AbortController();

describe('a throttled scan', () => {
  it('goes on while the lag is within the limit, and says nothing', async () => {
    const { pace, looks, said } = played([0, 1000, 999], 0);
    for (let page = 0; page < 3; page++) await pace(signal);
    expect(looks).toHaveLength(3);
    expect(said).toEqual([]);
  });

  it('waits while the lag is over the limit or unknown, and says when it pauses and resumes', async () => {
    const EVERY_MS = 20;
    const { pace, looks, said } = played([1001, null, 5000, 1000], EVERY_MS);
    await pace(signal);
    expect(looks).toHaveLength(4);
    expect(said).toEqual(['paused at 1001', 'resumed']);
    const gaps = looks.slice(1).map((at, i) => at - (looks[i] ?? 0));
    // Timers are a millisecond exact.
    for (const gap of gaps) expect(gap).toBeGreaterThanOrEqual(EVERY_MS - 1);
  });

  it('looks at the lag every half second at most, however many pages are read', async () => {
    const { pace, looks } = played([0], 60_000);
    for (let page = 0; page < 1000; page++) await pace(signal);
    expect(looks).toHaveLength(1);
    const byDefault = throttle({
      limitMs: LIMIT_MS,
      lagMs: () => Promise.resolve(looks.push(performance.now()) * 0),
      ...moving(),
      onPause: () => undefined,
      onResume: () => undefined,
    });
    while (looks.length < 3) await byDefault(signal);
    expect((looks[2] ?? 0) - (looks[1] ?? 0)).toBeGreaterThanOrEqual(500);
  });

  it('is given up once replication has stood still for too long, counted from when it moved last', async () => {
    const marks = ['1', '2', '3', '3', '4', '5'];
    let looks = 0;
    const pace = throttle({
      limitMs: LIMIT_MS,
      lagMs: () => Promise.resolve(5000),
      mark: () => Promise.resolve(marks[Math.min(looks++, marks.length - 1)] ?? ''),
      patienceMs: 60,
      everyMs: 20,
      onPause: () => undefined,
      onResume: () => undefined,
    });
    await expect(pace(signal)).rejects.toMatchObject({ code: 'TIMED_OUT' });
    // Twenty milliseconds each, and more than sixty behind the last move.
    expect(looks).toBeGreaterThanOrEqual(marks.length + 3);
  });

  it('ends with the signal while it waits', async () => {
    const ended = new AbortController();
    const { pace, said } = played([5000], 60_000);
    const waiting = pace(ended.signal);
    ended.abort();
    await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
    expect(said).toEqual(['paused at 5000']);
  });
});

describe('the lag', () => {
  const NOW = 100_000;
  const state = { topic: 't', position: '' as Position, epoch: 1, session: 1, owner: null, generation: 'g' };
  const end = (partition: number) => ({ topic: 't', partition, low: 0n, end: 10n });

  it.each<[string, readonly (readonly [next: bigint, committedMs: number | null])[], number | null]>([
    [
      'is none when nothing is behind, however old the newest change is',
      [
        [10n, 1000],
        [10n, null],
      ],
      0,
    ],
    [
      'is the age of the newest change applied, of all partitions',
      [
        [10n, 98_000],
        [9n, 97_000],
      ],
      2000,
    ],
    [
      'is unknown if nothing was ever applied',
      [
        [0n, null],
        [10n, null],
      ],
      null,
    ],
    [
      'is none if the clock of the source is ahead',
      [
        [9n, 101_000],
        [10n, null],
      ],
      0,
    ],
  ])('%s', (_, partitions, lag) => {
    const progress = partitions.map(([next, committedMs], partition) => ({
      ...state,
      partition,
      next,
      committedMs,
    }));
    expect(
      lagMs(
        partitions.map((__, partition) => end(partition)),
        progress,
        NOW,
      ),
    ).toBe(lag);
  });
});
