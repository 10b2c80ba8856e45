/**
 * What a reader of one partition may apply, judged by the highest epoch and session it has applied there (design §2, §3).
 * A record of an older session was sent by a publisher that had lost the slot: something newer may stand before it.
 */
import type { Position } from './position.ts';
import { LOWEST_POSITION } from './position.ts';

export interface ReaderState {
  readonly epoch: number;
  readonly session: number;
  /** The highest position read. */
  readonly position: Position;
}

export const INITIAL_READER: ReaderState = { epoch: 0, session: 0, position: LOWEST_POSITION };

export type Verdict = 'apply' | 'stale' | 'epoch-below';

export function judge(record: ReaderState, reader: ReaderState): Verdict {
  if (record.session < reader.session) return 'stale';
  return record.epoch < reader.epoch ? 'epoch-below' : 'apply';
}

export function advance(reader: ReaderState, record: ReaderState): ReaderState {
  if (
    record.epoch <= reader.epoch &&
    record.session <= reader.session &&
    record.position <= reader.position
  ) {
    return reader;
  }
  return {
    epoch: Math.max(reader.epoch, record.epoch),
    session: Math.max(reader.session, record.session),
    position: record.position > reader.position ? record.position : reader.position,
  };
}
