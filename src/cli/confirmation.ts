/** Before what cannot be undone: whoever asks for it says so again, on a terminal. Unattended use has --yes. */
import { createInterface } from 'node:readline';
import { AppError } from '../core/errors.ts';

export interface Asked {
  /** Says what is typed, and what for. */
  readonly question: string;
  /** To be typed. */
  readonly word: string;
}

/** Resolves if the word is typed; throws USAGE if anything else is, or nothing can be, or the signal's reason. */
export async function requireConfirmation(
  { question, word }: Asked,
  input: NodeJS.ReadableStream & { readonly isTTY?: boolean },
  output: NodeJS.WritableStream,
  signal: AbortSignal,
): Promise<void> {
  if (input.isTTY !== true) throw refused('Nobody can be asked here');
  output.write(question);
  // The terminal edits the line: ^C stays a signal, and ^D ends the input.
  const lines = createInterface({ input, terminal: false, signal });
  try {
    for await (const line of lines) {
      if (line.trim() === word) return;
      break;
    }
  } finally {
    lines.close();
  }
  output.write('\n');
  signal.throwIfAborted();
  throw refused('Not confirmed');
}

function refused(why: string): AppError {
  return new AppError('USAGE', `${why}: nothing is changed; answer on a terminal, or give --yes.`);
}
