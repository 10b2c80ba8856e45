/**
 * Proves that a graph is PostgreSQL's, all of it, content and all:
 *
 *   check everything ─▶ nothing differed: proved
 *      ▲        └─────▶ what differed was asked for again ─┐
 *      └──────────────────────────────────────────────────┘
 *
 * Guarantee: proved is only what one whole check found equal, with nothing repaired by it and nothing that could not be
 * judged. On failure: what differed is asked for durably, and another run goes on.
 */
import { AppError } from '../core/errors.ts';
import type { Lsn } from '../core/lsn.ts';

/** What one check of everything came to. */
export interface Check {
  /** How much differed, and was asked for again. */
  readonly drift: number;
  /** How much differs still, or could not be judged. */
  readonly open: number;
  /** What was committed before it was compared; null: nothing is proved. */
  readonly through: { readonly lsn: Lsn; readonly epoch: number } | null;
  /** Why nothing is, for people. */
  readonly unproved: string | null;
  /** How many keys were equal at once. */
  readonly compared: number;
}

export interface Proof {
  readonly lsn: Lsn;
  readonly epoch: number;
  readonly compared: number;
  /** How many earlier checks had to ask for again. */
  readonly repaired: number;
}

const MOST_CHECKS = 3;

/** Throws NOT_PROVED if something is left open, or the last check still had to repair, or proves nothing. */
export async function proveByChecks(
  check: () => Promise<Check>,
  onRepaired: (drift: number) => void,
): Promise<Proof> {
  let repaired = 0;
  for (let checks = 1; ; checks++) {
    const { drift, open, through, unproved, compared } = await check();
    if (drift + open === 0 && through !== null) return { ...through, compared, repaired };
    if (open > 0 || checks === MOST_CHECKS)
      throw new AppError(
        'NOT_PROVED',
        drift + open > 0
          ? `Check ${checks} of the graph found ${drift} that differed and left ${open} open.`
          : `Check ${checks} of the graph found nothing that differs, and proves nothing: ${unproved}.`,
      );
    repaired += drift;
    if (drift > 0) onRepaired(drift);
  }
}
