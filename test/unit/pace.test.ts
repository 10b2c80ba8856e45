import { setTimeout } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { type Pace, pace } from '../../src/pipelines/reconcile/pace.ts';

const { signal } = new AbortController();
const PAGE_MS = 10;
const REST = 100;
const LONGEST_REST_MS = 2_000;
const SECOND_LOOK_MS = 100;

/** A page that takes its time; answers how long the rest after it was. */
async function restAfterPage({ rest }: Pace, pageMs = PAGE_MS): Promise<number> {
  const startedAt = performance.now();
  while (performance.now() - startedAt < pageMs);
  const pageEndedAt = performance.now();
  await rest(signal);
  return performance.now() - pageEndedAt;
}

it('rests in proportion to what a page took, and reads none ahead, while the stream brings something, and until it is known that it does not', async () => {
  let mark = 0;
  let slowed = 0;
  const resting = pace({ mark: () => Promise.resolve(String(mark)), onSlow: () => slowed++, everyMs: 0 });
  expect(resting.ahead()).toBe(0);
  expect(await restAfterPage(resting)).toBeGreaterThanOrEqual(SECOND_LOOK_MS - 1);
  for (let page = 0; page < 3; page++) expect(await restAfterPage(resting)).toBeLessThan(PAGE_MS);
  expect(resting.ahead()).toBe(4);
  expect(slowed).toBe(0);
  for (let page = 0; page < 2; page++) {
    mark++;
    expect(await restAfterPage(resting)).toBeGreaterThanOrEqual(PAGE_MS * REST - 1);
    expect(resting.ahead()).toBe(0);
  }
  expect(await restAfterPage(resting)).toBeLessThan(PAGE_MS);
  expect(resting.ahead()).toBe(4);
  expect(slowed).toBe(1);
});

it('counts the look to what a page took, and rests two seconds at most', async () => {
  let mark = 0;
  const look = async (ms: number) => {
    await setTimeout(ms);
    return String(mark++);
  };
  let lookMs = 0;
  const resting = pace({ mark: () => look(lookMs), onSlow: () => undefined, everyMs: 0 });
  await resting.rest(signal);
  lookMs = 5;
  expect(await restAfterPage(resting, 0)).toBeGreaterThanOrEqual((lookMs - 1) * REST);
  const rest = await restAfterPage(resting, 100);
  expect(rest).toBeGreaterThanOrEqual(LONGEST_REST_MS - 1);
  expect(rest).toBeLessThan(2 * LONGEST_REST_MS);
});

it.each([
  ['at work', (look: number) => look, 0],
  ['idle', () => 0, 4],
])(
  'knows after the first page whether the stream is %s, however long that page took',
  async (_, mark, ahead) => {
    let looks = 0;
    const resting = pace({
      mark: () => Promise.resolve(String(mark(looks++))),
      onSlow: () => undefined,
      everyMs: 0,
    });
    const startedAt = performance.now();
    await resting.rest(signal);
    expect(performance.now() - startedAt).toBeLessThan(2 * SECOND_LOOK_MS);
    expect(looks).toBe(2);
    expect(resting.ahead()).toBe(ahead);
  },
);

it('looks every half second at most', async () => {
  let looks = 0;
  const resting = pace({ mark: () => Promise.resolve(String(looks++ * 0)), onSlow: () => undefined });
  await resting.rest(signal);
  const startedAt = performance.now();
  while (performance.now() - startedAt < 400) await resting.rest(signal);
  expect(looks).toBe(2);
});

it('ends with the signal while it rests', async () => {
  let mark = 0;
  const resting = pace({
    mark: () => Promise.resolve(String(mark++)),
    onSlow: () => undefined,
    everyMs: 0,
  });
  await restAfterPage(resting);
  const ended = new AbortController();
  const waiting = resting.rest(ended.signal);
  ended.abort();
  await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
});
