/** How far a run is, for people on a terminal and as JSON lines elsewhere: what it does, counts, rate and time to go. */
export interface ScanProgress {
  readonly at: (compared: number) => void;
  /** What it does from now on. */
  readonly phase: (name: string) => void;
  readonly end: () => void;
}

const EVERY_MS = { terminal: 200, lines: 10_000 };
const BAR = 30;

/** `expected`: an estimate of how many there are. Shown at its pace, whether or not anything moves. */
export function scanProgress(output: NodeJS.WriteStream, expected: number): ScanProgress {
  const startedAt = performance.now();
  let phase = 'starting';
  let compared = 0;
  // What an earlier run had compared is not this one's speed.
  let before: number | null = null;
  let shown = false;

  function show(): void {
    const rate = Math.round(((compared - (before ?? 0)) * 1000) / (performance.now() - startedAt));
    const etaSeconds = rate === 0 ? null : Math.ceil(Math.max(0, expected - compared) / rate);
    shown = true;
    output.write(
      output.isTTY
        ? `\r\u001b[2K${phase}: ${bar(compared / Math.max(compared, expected, 1))} ${compared} of some ${expected} entities, ${rate}/s, ${etaSeconds ?? '?'} s to go`
        : `${JSON.stringify({ event: 'progress', phase, compared, expected, rate, etaSeconds })}\n`,
    );
  }

  const timer = setInterval(show, output.isTTY ? EVERY_MS.terminal : EVERY_MS.lines);
  timer.unref();
  return {
    at(now) {
      before ??= now;
      compared = now;
    },
    phase(name) {
      phase = name;
    },
    end() {
      clearInterval(timer);
      if (output.isTTY && shown) output.write('\r\u001b[2K');
    },
  };
}

export function bar(share: number): string {
  const full = Math.round(share * BAR);
  return `${'█'.repeat(full)}${'░'.repeat(BAR - full)}`;
}
