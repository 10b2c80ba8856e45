/** Something to wait for that happens once and stays so. */
import { once } from 'node:events';

export interface Latch {
  readonly open: () => void;
  /** Resolves once it is open, or whoever waits is given up. */
  readonly passed: (givenUp: AbortSignal) => Promise<void>;
}

export function createLatch(): Latch {
  const opened = new AbortController();
  return {
    open() {
      opened.abort();
    },
    async passed(givenUp) {
      const either = AbortSignal.any([opened.signal, givenUp]);
      if (!either.aborted) await once(either, 'abort');
    },
  };
}
