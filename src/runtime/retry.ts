/** Tries again what may be tried again, for as long as it takes: exponential back-off, full jitter, ended by a signal. */
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../core/errors.ts';

export interface RetryOptions {
  readonly signal: AbortSignal;
  readonly initialMs?: number;
  readonly maxMs?: number;
  /** Which errors to try again after; `attempt` counts from 1. By default those whose disposition is retry. */
  readonly again?: (error: AppError, attempt: number) => boolean;
  /** Called before each pause. */
  readonly onRetry?: (error: AppError, attempt: number, delayMs: number) => void;
}

/** Rejects with the first error that is not to be retried, or with the signal's reason. */
export async function retry<T>(attemptOnce: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { signal, initialMs = 100, maxMs = 15_000, again = mayRetry } = options;
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await attemptOnce();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof AppError) || !again(error, attempt)) throw error;
      const delayMs = backoffMs(attempt, initialMs, maxMs, Math.random());
      options.onRetry?.(error, attempt, delayMs);
      await delay(delayMs, undefined, { signal });
    }
  }
}

export function mayRetry(error: AppError): boolean {
  return error.disposition === 'retry';
}

/** Between half and all of `initialMs × 2^(attempt−1)`, at most `maxMs`. `random` is in [0, 1). */
export function backoffMs(attempt: number, initialMs: number, maxMs: number, random: number): number {
  const ceiling = Math.min(maxMs, initialMs * 2 ** Math.min(attempt - 1, 30));
  return Math.round(ceiling * (0.5 + random / 2));
}

const HEALTHY_MS = 60_000;

/** Runs a session again each time it fails with what may be retried; a session that lasted begins the back-off anew. */
export async function keepRunning(
  session: () => Promise<void>,
  options: Pick<RetryOptions, 'signal' | 'onRetry'>,
): Promise<void> {
  const { signal } = options;
  for (let failures = 0; ;) {
    if (signal.aborted) return;
    const startedAt = performance.now();
    try {
      await session();
      return;
    } catch (error) {
      if (endedBy(signal, error)) return;
      if (!(error instanceof AppError) || !mayRetry(error)) throw error;
      failures = performance.now() - startedAt > HEALTHY_MS ? 1 : failures + 1;
      const delayMs = backoffMs(failures, 200, 5_000, Math.random());
      options.onRetry?.(error, failures, delayMs);
      await delay(delayMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** Is it what waits reject with once the signal is aborted, as it is or as the cause of an adapter's error? */
export function endedBy(signal: AbortSignal, error: unknown): boolean {
  if (!signal.aborted) return false;
  if (error === signal.reason) return true;
  return error instanceof Error && (error.name === 'AbortError' || endedBy(signal, error.cause));
}
