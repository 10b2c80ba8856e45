/** Work that is done again and again beside other work. */
import { setTimeout as delay } from 'node:timers/promises';

/**
 * Runs until the signal, and does the work each time `intervalMs` have passed since it was done. What the work rejects
 * with ends it.
 */
export async function every(
  intervalMs: number,
  signal: AbortSignal,
  work: () => Promise<void> | void,
): Promise<void> {
  for (;;) {
    await delay(intervalMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    await work();
  }
}
