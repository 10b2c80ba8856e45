/**
 * Waits for an answer that may take as long as it likes, from a server that has to be there meanwhile.
 *
 * Looks each time `intervalMs` have passed since the last look ended, one look at a time, until the answer is there.
 * Rejects with what a look rejects with: the answer is then left to itself, and what becomes of it is nobody's concern.
 */
import { every } from './every.ts';

export async function whileAlive<T>(
  answer: Promise<T>,
  look: () => Promise<void>,
  intervalMs: number,
): Promise<T> {
  const answered = new AbortController();
  const gone = every(intervalMs, answered.signal, look).then(() => answer);
  try {
    return await Promise.race([answer, gone]);
  } finally {
    answered.abort();
  }
}
