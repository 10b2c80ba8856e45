/** Holds a scan back while replication lags: its reads are for later, those of the stream are not. */
import { setTimeout as delay } from 'node:timers/promises';

export interface ThrottleOptions {
  readonly limitMs: number;
  /** null: something is behind, and nobody knows for how long. */
  readonly lagMs: () => Promise<number | null>;
  readonly onPause: (lagMs: number | null) => void;
  readonly onResume: (pausedMs: number) => void;
  /** Lag is not looked at more often: that is work as well. */
  readonly everyMs?: number;
}

/** To be called between pages: resolves once the scan may go on. */
export type Throttle = (signal: AbortSignal) => Promise<void>;

export function throttle({ limitMs, lagMs, onPause, onResume, everyMs = 500 }: ThrottleOptions): Throttle {
  let lookedAt = -Infinity;
  return async (signal) => {
    if (performance.now() - lookedAt < everyMs) return;
    const startedAt = performance.now();
    for (let paused = false; ; paused = true) {
      const lag = await lagMs();
      lookedAt = performance.now();
      if (lag !== null && lag <= limitMs) {
        if (paused) onResume(Math.round(lookedAt - startedAt));
        return;
      }
      if (!paused) onPause(lag);
      await delay(everyMs, undefined, { signal });
    }
  };
}
