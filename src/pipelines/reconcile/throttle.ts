/** Holds a scan back while replication lags: its reads are for later, those of the stream are not. */
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../../core/errors.ts';

export interface ThrottleOptions {
  readonly limitMs: number;
  /** null: something is behind, and nobody knows for how long. */
  readonly lagMs: () => Promise<number | null>;
  /** Anything that is another value once replication has moved. */
  readonly mark: () => Promise<string>;
  /** While it does not move, it is waited for no longer. */
  readonly patienceMs: number;
  readonly onPause: (lagMs: number | null) => void;
  readonly onResume: (pausedMs: number) => void;
  /** Lag is not looked at more often: that is work as well. */
  readonly everyMs?: number;
}

/** To be called between pages: resolves once the scan may go on. */
export type Throttle = (signal: AbortSignal) => Promise<void>;

/** Throws TIMED_OUT if replication stands still. */
export function throttle(options: ThrottleOptions): Throttle {
  const { limitMs, lagMs, mark, patienceMs, onPause, onResume, everyMs = 500 } = options;
  let lookedAt = -Infinity;
  return async (signal) => {
    if (performance.now() - lookedAt < everyMs) return;
    const startedAt = performance.now();
    let moved = { to: '', at: startedAt };
    for (let paused = false; ; paused = true) {
      const lag = await lagMs();
      lookedAt = performance.now();
      if (lag !== null && lag <= limitMs) {
        if (paused) onResume(Math.round(lookedAt - startedAt));
        return;
      }
      if (!paused) onPause(lag);
      const to = await mark();
      if (to !== moved.to) moved = { to, at: lookedAt };
      else if (lookedAt - moved.at > patienceMs) throw standsStill(patienceMs);
      await delay(everyMs, undefined, { signal });
    }
  };
}

function standsStill(ms: number): AppError {
  return new AppError(
    'TIMED_OUT',
    `The scan was held back, and replication has not moved for ${Math.round(ms / 1000)} s: are publisher and projector running? --resume goes on.`,
  );
}
