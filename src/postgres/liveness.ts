/**
 * How long ago PostgreSQL was certainly there, by the times that it sends along.
 *
 * The time of arrival would not do: a process that was stopped, or that reads slowly, finds old data in its socket's
 * buffer and takes it for news. So the server's own clock is used, less the smallest difference to ours in the last
 * keepalives, which is the difference of the clocks plus the fastest way here.
 */
export interface Liveness {
  /** A keepalive arrived, sent at `serverMs` by the server's clock. */
  heard(serverMs: number, nowMs: number): void;
  /** Found out by other means: it was there at `nowMs`. */
  confirmed(nowMs: number): void;
  agoMs(nowMs: number): number;
}

/** Enough to see one that came without waiting; few enough that clocks do not drift apart meanwhile. */
const DIFFERENCES = 64;

export function createLiveness(openedAtMs: number): Liveness {
  const differences: number[] = [];
  let heardAtMs = openedAtMs;
  let confirmedAtMs = openedAtMs;

  return {
    heard(serverMs, nowMs) {
      differences.push(nowMs - serverMs);
      if (differences.length > DIFFERENCES) differences.shift();
      heardAtMs = serverMs + Math.min(...differences);
    },
    confirmed(nowMs) {
      confirmedAtMs = nowMs;
    },
    agoMs: (nowMs) => Math.max(0, nowMs - Math.max(heardAtMs, confirmedAtMs)),
  };
}
