/**
 * Keeps a scan out of the way of a stream at work: it then reads one page, none ahead, and after it rests, in proportion
 * to what that took. How often it reads counts, and how much at once hardly does: a page is as large as it may be.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Throttle } from './throttle.ts';

export interface PaceOptions {
  /** Anything that is another value once the stream has brought something. */
  readonly mark: () => Promise<string>;
  /** Called once, when it begins to rest. */
  readonly onSlow: () => void;
  /** The mark is not looked at more often, once it was looked at twice. */
  readonly everyMs?: number;
}

export interface Pace {
  /** How many ranges of keys are read before they are asked for, now. */
  readonly ahead: () => number;
  /** To be called between pages. */
  readonly rest: Throttle;
}

export const AHEAD_AT_FULL_SPEED = 4;
/** Rest after a page, as a multiple of the time that it took: a commit in a hundred meets a page. */
const REST = 100;
const LONGEST_REST_MS = 2_000;
/** Between the first two looks. Until then nothing is known of the stream, and it may be at work. */
const SECOND_LOOK_MS = 100;

export function pace({ mark, onSlow, everyMs = 500 }: PaceOptions): Pace {
  let nextLookAt = 0;
  let last: string | null = null;
  let busy = true;
  let slow = false;
  let resumedAt = 0;

  async function look(): Promise<void> {
    const now = await mark();
    busy = now !== last;
    last = now;
    nextLookAt = performance.now() + everyMs;
  }
  return {
    // What is read ahead would be read during the rest, and not be counted.
    ahead: () => (busy ? 0 : AHEAD_AT_FULL_SPEED),
    async rest(signal) {
      if (last === null) {
        // The first page comes with all there is to set up: its time says nothing.
        await look();
        await delay(SECOND_LOOK_MS, undefined, { signal });
        await look();
      } else {
        if (performance.now() >= nextLookAt) await look();
        const tookMs = performance.now() - resumedAt;
        if (busy) {
          if (!slow) onSlow();
          slow = true;
          await delay(Math.min(tookMs * REST, LONGEST_REST_MS), undefined, { signal });
        }
      }
      resumedAt = performance.now();
    },
  };
}
