import { expect, it } from 'vitest';
import { pace } from '../../src/pipelines/reconcile/pace.ts';

const { signal } = new AbortController();
const PAGE_MS = 10;
const REST = 20;

/** A page that takes its time; answers how long the rest after it was. */
async function restAfterPage(rest: (signal: AbortSignal) => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  while (performance.now() - startedAt < PAGE_MS);
  const pageEndedAt = performance.now();
  await rest(signal);
  return performance.now() - pageEndedAt;
}

it('goes on at once while the stream brings nothing, and rests in proportion to each page while it does', async () => {
  let mark = 0;
  const resting = pace({ mark: () => Promise.resolve(String(mark)), everyMs: 0 });
  for (let page = 0; page < 3; page++) expect(await restAfterPage(resting)).toBeLessThan(PAGE_MS);
  mark = 1;
  expect(await restAfterPage(resting)).toBeGreaterThanOrEqual(PAGE_MS * REST - 1);
  mark = 2;
  expect(await restAfterPage(resting)).toBeGreaterThanOrEqual(PAGE_MS * REST - 1);
  expect(await restAfterPage(resting)).toBeLessThan(PAGE_MS);
});

it('looks every half second at most', async () => {
  let looks = 0;
  const resting = pace({ mark: () => Promise.resolve(String(looks++ * 0)) });
  for (let page = 0; page < 1000; page++) await resting(signal);
  expect(looks).toBe(1);
});

it('ends with the signal while it rests', async () => {
  let mark = 0;
  const resting = pace({ mark: () => Promise.resolve(String(mark++)), everyMs: 0 });
  await restAfterPage(resting);
  const ended = new AbortController();
  const waiting = resting(ended.signal);
  ended.abort();
  await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
});
