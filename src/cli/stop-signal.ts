/** SIGTERM and SIGINT as an AbortSignal, for commands that run until they are done. */
import { type AppError, describeError } from '../core/errors.ts';

export interface StopSignal {
  readonly signal: AbortSignal;
  /** Stops for another reason than a signal: the run must not go on. */
  readonly fail: (error: AppError) => void;
  /** Signals act as before again. */
  readonly end: () => void;
}

const INTERRUPTED = 130;
const TERMINATED = 143;
const FAILED = 1;
/** For what was begun to end, after a signal. */
const GRACE_MS = 5000;

/** Of the reason that a stop signal was aborted with, which is thrown if it is an error. */
export function exitCodeOf(reason: unknown): number {
  if (reason instanceof Error) throw reason;
  return reason === 'SIGTERM' ? TERMINATED : INTERRUPTED;
}

export function stopSignal(): StopSignal {
  const controller = new AbortController();
  const stop = (name: NodeJS.Signals) => {
    const leave = () => process.exit(exitCodeOf(name));
    // Again: whoever asks does not want to wait for anything. What a server was asked may take long.
    if (controller.signal.aborted) leave();
    controller.abort(name);
    setTimeout(leave, GRACE_MS).unref();
  };
  process.on('SIGTERM', stop).on('SIGINT', stop);
  return {
    signal: controller.signal,
    fail(error) {
      if (controller.signal.aborted) return;
      controller.abort(error);
      setTimeout(() => {
        process.stderr.write(`${describeError(error)}\n`);
        process.exit(FAILED);
      }, GRACE_MS).unref();
    },
    end: () => process.off('SIGTERM', stop).off('SIGINT', stop),
  };
}
