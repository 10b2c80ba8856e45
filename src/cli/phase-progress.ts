/** How far a run of several phases is, for people on a terminal and as JSON lines elsewhere. */
import { bar, type Shown, shownAtPace } from './progress-line.ts';

export interface PhaseProgress extends Shown {
  /** `total` null: how much there is to do is not known. */
  readonly at: (phase: string, done: number, total: number | null) => void;
}

const BAR = { longest: 30, shortest: 5 };

/** Rate and time to go are those of the phase; what an earlier run had done is not this one's speed. */
export function phaseProgress(output: NodeJS.WriteStream): PhaseProgress {
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

  const shown = shownAtPace(output, {
    line(columns) {
      if (total === null && done === 0) return `${phase} …`;
      const { rate, etaSeconds } = pace();
      const of = total === null ? '' : ` of some ${total}`;
      const counts = `${done}${of}, ${rate}/s, ${etaSeconds ?? '?'} s to go`;
      const room = Math.min(BAR.longest, columns - `${phase}:  ${counts}`.length);
      if (total === null || room < BAR.shortest) return `${phase}: ${counts}`;
      return `${phase}: ${bar(done / Math.max(done, total, 1), room)} ${counts}`;
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
    ...shown,
  };
}
