/**
 * The life of a service process: runs until it ends by itself, fails, or is told to stop. The first SIGTERM or SIGINT
 * asks it to drain; a second one, or the deadline, ends the run at once, with SHUTDOWN_TIMEOUT, and the caller the process:
 * whatever is lost then is done again after the next start (I11).
 */
import type { Log } from './log.ts';
import { AppError } from '../core/errors.ts';

export interface Service {
  /** Resolves after a clean drain once `signal` is aborted; rejects on what cannot be retried. */
  readonly run: (signal: AbortSignal) => Promise<void>;
}

const STOP_DEADLINE_MS = 30_000;

export async function runUntilStopped(
  service: Service,
  log: Log,
  deadlineMs = STOP_DEADLINE_MS,
): Promise<void> {
  const controller = new AbortController();
  let deadline: NodeJS.Timeout | undefined;
  let expire: (error: AppError) => void;
  const expired = new Promise<never>((_, reject) => (expire = reject));
  const stop = (name: NodeJS.Signals) => {
    const late = (why: string) => {
      expire(new AppError('SHUTDOWN_TIMEOUT', `The process ${why}.`));
    };
    if (controller.signal.aborted) {
      late('was told to stop once more, before it had stopped');
      return;
    }
    log.info({ signal: name }, 'stopping: draining what is in flight');
    deadline = setTimeout(late, deadlineMs, `did not stop within ${deadlineMs / 1000} s`);
    controller.abort();
  };
  process.on('SIGTERM', stop).on('SIGINT', stop);
  try {
    await Promise.race([service.run(controller.signal), expired]);
    if (controller.signal.aborted) log.info({}, 'stopped');
  } finally {
    clearTimeout(deadline);
    process.off('SIGTERM', stop).off('SIGINT', stop);
  }
}

/** Runs services side by side; the failure of one stops the others, and is what is thrown. */
export function together(services: readonly Service[]): Service {
  return {
    async run(signal) {
      const failed = new AbortController();
      const both = AbortSignal.any([signal, failed.signal]);
      const results = await Promise.allSettled(
        services.map(async (service) => {
          try {
            await service.run(both);
          } catch (error) {
            failed.abort(error);
            throw error;
          }
        }),
      );
      if (failed.signal.aborted) throw failed.signal.reason;
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    },
  };
}
