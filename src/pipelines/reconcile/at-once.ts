/**
 * How much of what is compared is held at once: so many, and, with all that they hold, not more than what PostgreSQL says
 * can be. Guarantee: memory does not grow with how large rows are, but for a single one.
 */

/** A side that is read by id. */
export interface Holding {
  /** How many of the ids, from the first, can be held at once, at least one; not there: all. */
  readonly holdable?: (ids: readonly string[], signal: AbortSignal) => Promise<number>;
}

export const AT_ONCE = 1000;

/** The first of them. */
export async function firstOf(
  ids: readonly string[],
  { holdable }: Holding,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const some = ids.slice(0, AT_ONCE);
  return holdable === undefined || some.length === 0 ? some : some.slice(0, await holdable(some, signal));
}

/** All of them, in order, as many at a time. */
export async function* piecesOf(
  ids: readonly string[],
  side: Holding,
  signal: AbortSignal,
): AsyncGenerator<readonly string[]> {
  for (let open = ids; open.length > 0;) {
    const piece = await firstOf(open, side, signal);
    yield piece;
    open = open.slice(piece.length);
  }
}
