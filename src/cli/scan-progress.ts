/** How far a scan is, for people on a terminal and as JSON lines elsewhere: counts, rate and time to go. */
export interface ScanProgress {
  readonly at: (compared: number) => void;
  readonly end: () => void;
}

const EVERY_MS = { terminal: 200, lines: 10_000 };
const BAR = 30;

/** `expected`: an estimate of how many there are. */
export function scanProgress(output: NodeJS.WriteStream, expected: number): ScanProgress {
  const startedAt = performance.now();
  const everyMs = output.isTTY ? EVERY_MS.terminal : EVERY_MS.lines;
  let shownAt = startedAt;
  // What an earlier run had compared is not this one's speed.
  let before: number | null = null;
  return {
    at(compared) {
      before ??= compared;
      const now = performance.now();
      if (now - shownAt < everyMs) return;
      shownAt = now;
      const rate = Math.round(((compared - before) * 1000) / (now - startedAt));
      const etaSeconds = rate === 0 ? null : Math.ceil(Math.max(0, expected - compared) / rate);
      output.write(
        output.isTTY
          ? `\r\u001b[2K${bar(compared / Math.max(compared, expected, 1))} ${compared} of some ${expected} entities, ${rate}/s, ${etaSeconds ?? '?'} s to go`
          : `${JSON.stringify({ event: 'progress', compared, expected, rate, etaSeconds })}\n`,
      );
    },
    end() {
      if (output.isTTY && shownAt > startedAt) output.write('\r\u001b[2K');
    },
  };
}

function bar(share: number): string {
  const full = Math.round(share * BAR);
  return `${'█'.repeat(full)}${'░'.repeat(BAR - full)}`;
}
