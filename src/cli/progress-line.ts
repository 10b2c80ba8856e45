/** Progress for people: one line that is rewritten on a terminal, plain lines elsewhere. */
export function progressLine(output: NodeJS.WriteStream): (text: string) => void {
  if (!output.isTTY) return (text) => output.write(`${text}\n`);
  return (text) => output.write(`\r\u001b[2K${text}`);
}
