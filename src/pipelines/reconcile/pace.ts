/**
 * Keeps a scan out of the way of a stream at work: it then reads small pages, none ahead, and after each it rests, in
 * proportion to what the page took.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Throttle } from './throttle.ts';

export interface PaceOptions {
  /** Anything that is another value once the stream has brought something. */
  readonly mark: () => Promise<string>;
  /** The mark is not looked at more often, once it was looked at twice. */
  readonly everyMs?: number;
}

/** How a scan reads, now. */
export interface Reading {
  /** The most that a page, and a batch of what is compared, have. */
  readonly batchSize: number;
  /** How many ranges of keys are read before they are asked for. */
  readonly ahead: number;
}

export interface Pace {
  readonly reading: (batchSize: number) => Reading;
  /** To be called between pages. */
  readonly rest: Throttle;
}

const AHEAD = 4;
/** Of what may be read at once: a change that comes meanwhile waits for that. */
const SHARE = 8;
/** Rest after a page, as a multiple of the time that it took: a commit in ten meets a page at most. */
const REST = 10;
const LONGEST_REST_MS = 2_000;
/** Between the first two looks. Until then nothing is known of the stream, and it may be at work. */
const SECOND_LOOK_MS = 100;

export function atFullSpeed(batchSize: number): Reading {
  return { batchSize, ahead: AHEAD };
}

export function pace({ mark, everyMs = 500 }: PaceOptions): Pace {
  let nextLookAt = 0;
  let last: string | null = null;
  let busy = true;
  let resumedAt = 0;

  async function look(): Promise<void> {
    const now = await mark();
    busy = now !== last;
    last = now;
    nextLookAt = performance.now() + everyMs;
  }
  return {
    // What is read ahead would be read during the rest, and not be counted.
    reading: (batchSize) =>
      busy ? { batchSize: Math.ceil(batchSize / SHARE), ahead: 0 } : atFullSpeed(batchSize),
    async rest(signal) {
      if (last === null) {
        // The first page comes with all there is to set up: its time says nothing.
        await look();
        await delay(SECOND_LOOK_MS, undefined, { signal });
        await look();
      } else {
        const tookMs = performance.now() - resumedAt;
        if (performance.now() >= nextLookAt) await look();
        if (busy) await delay(Math.min(tookMs * REST, LONGEST_REST_MS), undefined, { signal });
      }
      resumedAt = performance.now();
    },
  };
}
