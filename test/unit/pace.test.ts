import { expect, it } from 'vitest';
import { type Pace, pace } from '../../src/pipelines/reconcile/pace.ts';

const { signal } = new AbortController();
const PAGE_MS = 10;
const REST = 10;
const SECOND_LOOK_MS = 100;

/** A page that takes its time; answers how long the rest after it was. */
async function restAfterPage({ rest }: Pace): Promise<number> {
  const startedAt = performance.now();
  while (performance.now() - startedAt < PAGE_MS);
  const pageEndedAt = performance.now();
  await rest(signal);
  return performance.now() - pageEndedAt;
}

it('reads little and rests in proportion to that while the stream brings something, and until it is known that it does not', async () => {
  let mark = 0;
  const resting = pace({ mark: () => Promise.resolve(String(mark)), everyMs: 0 });
  const small = { batchSize: 125, ahead: 0 };
  const full = { batchSize: 1000, ahead: 4 };
  expect(resting.reading(1000)).toEqual(small);
  expect(await restAfterPage(resting)).toBeGreaterThanOrEqual(SECOND_LOOK_MS - 1);
  for (let page = 0; page < 3; page++) expect(await restAfterPage(resting)).toBeLessThan(PAGE_MS);
  mark = 1;
  expect(resting.reading(1000)).toEqual(full);
  expect(await restAfterPage(resting)).toBeGreaterThanOrEqual(PAGE_MS * REST - 1);
  expect(resting.reading(1000)).toEqual(small);
  expect([9, 8, 3].map((most) => resting.reading(most).batchSize)).toEqual([2, 1, 1]);
  mark = 2;
  expect(await restAfterPage(resting)).toBeGreaterThanOrEqual(PAGE_MS * REST - 1);
  expect(await restAfterPage(resting)).toBeLessThan(PAGE_MS);
  expect(resting.reading(1000)).toEqual(full);
});

it.each([
  ['at work', (look: number) => look, { batchSize: 1, ahead: 0 }],
  ['idle', () => 0, { batchSize: 8, ahead: 4 }],
])(
  'knows after the first page whether the stream is %s, however long that page took',
  async (_, mark, reading) => {
    let looks = 0;
    const resting = pace({ mark: () => Promise.resolve(String(mark(looks++))), everyMs: 0 });
    const startedAt = performance.now();
    await resting.rest(signal);
    expect(performance.now() - startedAt).toBeLessThan(2 * SECOND_LOOK_MS);
    expect(looks).toBe(2);
    expect(resting.reading(8)).toEqual(reading);
  },
);

it('looks every half second at most', async () => {
  let looks = 0;
  const resting = pace({ mark: () => Promise.resolve(String(looks++ * 0)) });
  await resting.rest(signal);
  const startedAt = performance.now();
  while (performance.now() - startedAt < 400) await resting.rest(signal);
  expect(looks).toBe(2);
});

it('ends with the signal while it rests', async () => {
  let mark = 0;
  const resting = pace({ mark: () => Promise.resolve(String(mark++)), everyMs: 0 });
  await restAfterPage(resting);
  const ended = new AbortController();
  const waiting = resting.rest(ended.signal);
  ended.abort();
  await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
});
