/** Keeps a scan out of the way of a stream at work: after each page it rests, in proportion to what the page took. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Throttle } from './throttle.ts';

export interface PaceOptions {
  /** Anything that is another value once the stream has brought something. */
  readonly mark: () => Promise<string>;
  /** The mark is not looked at more often. */
  readonly everyMs?: number;
}

/** Rest after a page, as a multiple of the time that it took: a commit in twenty meets a page at most. */
const REST = 20;
const LONGEST_REST_MS = 2_000;

export function pace({ mark, everyMs = 500 }: PaceOptions): Throttle {
  let lookedAt = -Infinity;
  let last: string | null = null;
  let busy = false;
  let resumedAt = performance.now();
  return async (signal) => {
    const tookMs = performance.now() - resumedAt;
    if (performance.now() - lookedAt >= everyMs) {
      const now = await mark();
      lookedAt = performance.now();
      busy = last !== null && now !== last;
      last = now;
    }
    if (busy) await delay(Math.min(tookMs * REST, LONGEST_REST_MS), undefined, { signal });
    resumedAt = performance.now();
  };
}
