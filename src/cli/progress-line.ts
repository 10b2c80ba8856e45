/** Progress for people: one line that is rewritten on a terminal, plain lines elsewhere. */
export function progressLine(output: NodeJS.WriteStream): (text: string) => void {
  if (!output.isTTY) return (text) => output.write(`${text}\n`);
  return (text) => output.write(`\r\u001b[2K${text}`);
}

const EVERY_MS = { terminal: 200, lines: 10_000 };

/** Shows a run at its pace, whether or not anything moves, until the answer is called: for people, or as JSON lines. */
export function shownAtPace(
  output: NodeJS.WriteStream,
  { line, fields }: { readonly line: () => string; readonly fields: () => object },
): () => void {
  const say = progressLine(output);
  let shown = false;
  const timer = setInterval(
    () => {
      shown = true;
      say(output.isTTY ? line() : JSON.stringify({ event: 'progress', ...fields() }));
    },
    output.isTTY ? EVERY_MS.terminal : EVERY_MS.lines,
  );
  timer.unref();
  return () => {
    clearInterval(timer);
    if (output.isTTY && shown) output.write('\r\u001b[2K');
  };
}

const BAR = 30;

export function bar(share: number): string {
  const full = Math.round(share * BAR);
  return `${'█'.repeat(full)}${'░'.repeat(BAR - full)}`;
}
