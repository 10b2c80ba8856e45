/** Tries again what may be tried again, for as long as it takes: exponential back-off, full jitter, ended by a signal. */
import { setTimeout as delay } from 'node:timers/promises';
import { type AppError, dispositionOf } from '../core/errors.ts';

export interface RetryOptions {
  readonly signal: AbortSignal;
  readonly initialMs?: number;
  readonly maxMs?: number;
  /** Called before each pause: attempt counts from 1. */
  readonly onRetry?: (error: AppError, attempt: number, delayMs: number) => void;
}

/** Rejects with the first error that is not to be retried, or with the signal's reason. */
export async function retry<T>(attemptOnce: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { signal, initialMs = 100, maxMs = 15_000 } = options;
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await attemptOnce();
    } catch (error) {
      signal.throwIfAborted();
      if (dispositionOf(error) !== 'retry') throw error;
      const delayMs = backoffMs(attempt, initialMs, maxMs, Math.random());
      options.onRetry?.(error as AppError, attempt, delayMs);
      await delay(delayMs, undefined, { signal });
    }
  }
}

/** Between half and all of `initialMs × 2^(attempt−1)`, at most `maxMs`. `random` is in [0, 1). */
export function backoffMs(attempt: number, initialMs: number, maxMs: number, random: number): number {
  const ceiling = Math.min(maxMs, initialMs * 2 ** Math.min(attempt - 1, 30));
  return Math.round(ceiling * (0.5 + random / 2));
}
