/** How far a rebuild is, for people on a terminal and as JSON lines elsewhere. */
import { bar, shownAtPace } from './progress-line.ts';

export interface RebuildProgress {
  /** `total` null: how much there is to do is not known. */
  readonly at: (phase: string, done: number, total: number | null) => void;
  readonly end: () => void;
}

/** Rate and time to go are those of the phase; what an earlier run had done is not this one's speed. */
export function rebuildProgress(output: NodeJS.WriteStream): RebuildProgress {
  let phase = 'starting';
  let startedAt = performance.now();
  let before = 0;
  let done = 0;
  let total: number | null = null;

  function pace(): { readonly rate: number; readonly etaSeconds: number | null } {
    const rate = Math.round(((done - before) * 1000) / Math.max(1, performance.now() - startedAt));
    const etaSeconds = total === null || rate === 0 ? null : Math.ceil(Math.max(0, total - done) / rate);
    return { rate, etaSeconds };
  }

  const end = shownAtPace(output, {
    line() {
      const { rate, etaSeconds } = pace();
      const of =
        total === null ? String(done) : `${bar(done / Math.max(done, total, 1))} ${done} of ${total}`;
      return `${phase}: ${of}, ${rate}/s, ${etaSeconds ?? '?'} s to go`;
    },
    fields: () => ({ phase, done, total, ...pace() }),
  });
  return {
    at(now, count, of) {
      if (now !== phase) {
        phase = now;
        startedAt = performance.now();
        before = count;
      }
      done = count;
      total = of;
    },
    end,
  };
}
