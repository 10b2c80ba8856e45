/** How far a rebuild is, for people on a terminal and as JSON lines elsewhere. */
import { bar } from './scan-progress.ts';

export interface RebuildProgress {
  /** `total` null: how much there is to do is not known. */
  readonly at: (phase: string, done: number, total: number | null) => void;
  readonly end: () => void;
}

const EVERY_MS = { terminal: 200, lines: 10_000 };

/** Rate and time to go are those of the phase; what an earlier run had done is not this one's speed. */
export function rebuildProgress(output: NodeJS.WriteStream): RebuildProgress {
  let phase = 'starting';
  let startedAt = performance.now();
  let before = 0;
  let done = 0;
  let total: number | null = null;
  let shown = false;

  function show(): void {
    const rate = Math.round(((done - before) * 1000) / Math.max(1, performance.now() - startedAt));
    const etaSeconds = total === null || rate === 0 ? null : Math.ceil(Math.max(0, total - done) / rate);
    shown = true;
    const of = total === null ? String(done) : `${bar(done / Math.max(done, total, 1))} ${done} of ${total}`;
    output.write(
      output.isTTY
        ? `\r\u001b[2K${phase}: ${of}, ${rate}/s, ${etaSeconds ?? '?'} s to go`
        : `${JSON.stringify({ event: 'progress', phase, done, total, rate, etaSeconds })}\n`,
    );
  }

  const timer = setInterval(show, output.isTTY ? EVERY_MS.terminal : EVERY_MS.lines);
  timer.unref();
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
    end() {
      clearInterval(timer);
      if (output.isTTY && shown) output.write('\r\u001b[2K');
    },
  };
}
