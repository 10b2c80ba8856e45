/**
 * `graph dead-letters redrive` (I12): the rows of records that could not be applied are asked for again, as they are now.
 *
 *   open letters ─▶ republish requests of their keys ─▶ the graph has caught up ─▶ what did not fail again is settled
 *
 * Guarantee: a letter is settled only after the record that answers it is in the graph; one whose record fails again
 * is replaced by its new letter, which stays open. On failure: requests already made are served, their letters stay open.
 */
import type { KeyParts } from '../core/keys.ts';
import type { Mapping } from '../core/mapping.ts';
import { askable } from '../core/messages.ts';
import type { OpenLetter } from '../kafka/dead-letters.ts';
import { keyParts } from './project/requests.ts';
import type { Mend } from './reconcile/ask.ts';

export interface RedriveOptions {
  readonly mapping: Mapping;
  readonly letters: readonly OpenLetter[];
  /** Durable when resolved. */
  readonly ask: Mend;
  /** Resolves once the graph has everything that was committed before the call. */
  readonly caughtUp: () => Promise<void>;
  readonly openLetters: () => Promise<readonly OpenLetter[]>;
  /** Durable when resolved. */
  readonly settle: (letters: readonly OpenLetter[]) => Promise<void>;
}

export interface Redriven {
  readonly settled: readonly OpenLetter[];
  readonly failedAgain: readonly OpenLetter[];
  /** No row can be asked for by their keys: they can only be discarded. */
  readonly unnamed: readonly OpenLetter[];
}

export async function redrive(options: RedriveOptions, signal: AbortSignal): Promise<Redriven> {
  const { mapping, letters } = options;
  const asked = new Set<OpenLetter>();
  for (const table of mapping.tables) {
    const keys: KeyParts[] = [];
    for (const letter of letters) {
      if (letter.topic !== table.topic || letter.key === null) continue;
      const parts = keyParts(table, Buffer.from(letter.key));
      if (parts === null || !askable(parts)) continue;
      keys.push(parts);
      asked.add(letter);
    }
    await options.ask(table, keys, signal);
  }
  if (asked.size > 0) await options.caughtUp();
  const open = new Set((await options.openLetters()).map(({ id }) => id));
  const settled = [...asked].filter(({ id }) => open.has(id));
  await options.settle(settled);
  return {
    settled,
    failedAgain: [...asked].filter(({ id }) => !open.has(id)),
    unnamed: letters.filter((letter) => !asked.has(letter)),
  };
}
