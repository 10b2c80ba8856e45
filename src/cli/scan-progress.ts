/** How far a run is, for people on a terminal and as JSON lines elsewhere: what it does, counts, rate and time to go. */
import { bar, shownAtPace } from './progress-line.ts';

export interface ScanProgress {
  readonly at: (compared: number) => void;
  /** What it does from now on. */
  readonly phase: (name: string) => void;
  readonly end: () => void;
}

/** `expected`: an estimate of how many there are. */
export function scanProgress(output: NodeJS.WriteStream, expected: number): ScanProgress {
  const startedAt = performance.now();
  let phase = 'starting';
  let compared = 0;
  // What an earlier run had compared is not this one's speed.
  let before: number | null = null;

  function pace(): { readonly rate: number; readonly etaSeconds: number | null } {
    const rate = Math.round(((compared - (before ?? 0)) * 1000) / (performance.now() - startedAt));
    return { rate, etaSeconds: rate === 0 ? null : Math.ceil(Math.max(0, expected - compared) / rate) };
  }

  const end = shownAtPace(output, {
    line() {
      const { rate, etaSeconds } = pace();
      const share = bar(compared / Math.max(compared, expected, 1));
      return `${phase}: ${share} ${compared} of some ${expected} entities, ${rate}/s, ${etaSeconds ?? '?'} s to go`;
    },
    fields: () => ({ phase, compared, expected, ...pace() }),
  });
  return {
    at(now) {
      before ??= now;
      compared = now;
    },
    phase(name) {
      phase = name;
    },
    end,
  };
}
