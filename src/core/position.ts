/**
 * Positions (I5): where in the history of the source a change stands.
 *
 * A position is `(epoch, commit LSN, the change's own LSN)` written as one fixed-width lower-case string, so that
 * `<` on strings, in JavaScript and in Cypher alike, is the order of history. Commit order comes first because own
 * LSNs of concurrent transactions interleave. `''` is the lowest position: that of something never stamped.
 */
import { type Lsn, lsn } from './lsn.ts';

export type Position = string & { readonly __position: unique symbol };

export interface PositionParts {
  readonly epoch: number;
  readonly commitLsn: Lsn;
  readonly ownLsn: Lsn;
}

export const LOWEST_POSITION = '' as Position;

const SHAPE = /^([0-9]{10})-([0-9a-f]{16})-([0-9a-f]{16})$/;

/** `epoch(10 digits)-commitLSN(16 hex)-ownLSN(16 hex)`. Throws RangeError if the epoch has more than ten digits. */
export function position(epoch: number, commitLsn: Lsn, ownLsn: Lsn): Position {
  return `${positionPrefix(epoch, commitLsn)}${hex(ownLsn)}` as Position;
}

/** The part that all changes of one transaction share, ending in `-`: built once per transaction. */
export function positionPrefix(epoch: number, commitLsn: Lsn): string {
  if (!Number.isInteger(epoch) || epoch < 0 || epoch > 9_999_999_999) {
    throw new RangeError('an epoch is a whole number of at most ten digits');
  }
  return `${epoch.toString().padStart(10, '0')}-${hex(commitLsn)}-`;
}

export function hex(value: Lsn): string {
  return value.toString(16).padStart(16, '0');
}

export function isPosition(text: string): text is Position {
  return SHAPE.test(text);
}

/** Throws RangeError unless `text` is a position other than the lowest. */
export function parsePosition(text: string): PositionParts {
  const match = SHAPE.exec(text);
  if (match === null) throw new RangeError('a position is written epoch-commitLSN-ownLSN');
  const [, epoch = '', commitLsn = '', ownLsn = ''] = match;
  return {
    epoch: Number(epoch),
    commitLsn: lsn(BigInt(`0x${commitLsn}`)),
    ownLsn: lsn(BigInt(`0x${ownLsn}`)),
  };
}

export function epochOf(value: Position): number {
  return Number(value.slice(0, 10));
}

/** The next epoch or session number: grows even where the previous one was lost (I6). */
export function nextGeneration(previous: number, nowMs: number): number {
  return Math.max(previous + 1, Math.floor(nowMs / 1000));
}
