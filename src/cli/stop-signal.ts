/** SIGTERM and SIGINT as an AbortSignal, for commands that run until they are done. */
export interface StopSignal {
  readonly signal: AbortSignal;
  /** Signals act as before again. */
  readonly end: () => void;
}

const INTERRUPTED = 130;
const TERMINATED = 143;
/** For what was begun to end, after a signal. */
const GRACE_MS = 5000;

/** `signal`: the reason that a stop signal was aborted with. */
export function exitCodeOf(signal: unknown): number {
  return signal === 'SIGTERM' ? TERMINATED : INTERRUPTED;
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
    end: () => process.off('SIGTERM', stop).off('SIGINT', stop),
  };
}
