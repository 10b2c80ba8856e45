import { describe, expect, it } from 'vitest';
import { throttle } from '../../src/pipelines/reconcile/throttle.ts';

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
    everyMs,
    onPause: (lag) => said.push(`paused at ${String(lag)}`),
    onResume: (pausedMs) => said.push(pausedMs > 0 ? 'resumed' : 'resumed at once'),
  });
  return { pace, looks, said };
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
      onPause: () => undefined,
      onResume: () => undefined,
    });
    while (looks.length < 3) await byDefault(signal);
    expect((looks[2] ?? 0) - (looks[1] ?? 0)).toBeGreaterThanOrEqual(500);
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
