/** Progress for people: one line that is rewritten on a terminal, plain lines elsewhere. */
const CLEARED = '\r\u001b[2K';
const USUAL_COLUMNS = 80;

/** Cut to the terminal's width: what is wrapped cannot be rewritten. Whoever else writes begins where the line does. */
export function progressLine(output: NodeJS.WriteStream): (text: string) => void {
  if (!output.isTTY) return (text) => output.write(`${text}\n`);
  return (text) => output.write(`${CLEARED}${text.slice(0, columnsOf(output))}\r`);
}

const EVERY_MS = { terminal: 200, lines: 10_000 };

export interface Shown {
  /** Before something else is written to what may be the same terminal. */
  readonly clear: () => void;
  readonly end: () => void;
}

/** Shows a run at its pace, whether or not anything moves, until its end: for people, or as JSON lines. */
export function shownAtPace(
  output: NodeJS.WriteStream,
  { line, fields }: { readonly line: (columns: number) => string; readonly fields: () => object },
): Shown {
  const say = progressLine(output);
  let shown = false;
  const timer = setInterval(
    () => {
      shown = true;
      say(output.isTTY ? line(columnsOf(output)) : JSON.stringify({ event: 'progress', ...fields() }));
    },
    output.isTTY ? EVERY_MS.terminal : EVERY_MS.lines,
  );
  timer.unref();

  function clear(): void {
    if (output.isTTY && shown) output.write(CLEARED);
    shown = false;
  }

  return {
    clear,
    end() {
      clearInterval(timer);
      clear();
    },
  };
}

/** Behind the last one the cursor would be in the next row. */
function columnsOf({ columns }: NodeJS.WriteStream): number {
  return (columns > 0 ? columns : USUAL_COLUMNS) - 1;
}

export function bar(share: number, width: number): string {
  const full = Math.round(share * width);
  return `${'█'.repeat(full)}${'░'.repeat(width - full)}`;
}
