/**
 * Begins a session on a slot that is ours: is this still the recorded source (I6), which epoch, which session number
 * (design §2)? The slot is held before the control topic is read, so nobody else writes it meanwhile, except a paused
 * predecessor, whose records carry its own, older session number.
 */
import { AppError } from '../../core/errors.ts';
import type { Safe } from '../../core/acknowledgements.ts';
import { formatLsn, type Lsn, parseLsn } from '../../core/lsn.ts';
import { nextGeneration } from '../../core/position.ts';
import { decideSource, type ObservedSource, type RecordedSource } from '../../core/source-identity.ts';
import type { ControlState, ControlWriter, SourceRecord } from '../../kafka/control.ts';
import type { Mapping } from '../../core/mapping.ts';

export interface Session {
  readonly epoch: number;
  readonly session: number;
  /** The last commit of the previous session, if the slot is to replay it. */
  readonly overlap: { readonly lsn: Lsn; readonly xid: number } | null;
  /** Remembers what is about to be acknowledged; durable when resolved. */
  readonly record: (safe: Safe) => Promise<void>;
}

/** Throws SOURCE_CHANGED with the reason, before anything is written. */
export async function takeOver(
  state: ControlState,
  observed: ObservedSource,
  mapping: Mapping,
  control: ControlWriter,
): Promise<Session> {
  const recorded = state.source;
  const decision = decideSource(recordedSource(recorded), observed, state.topics.size > 0);
  if (decision.kind === 'gap') throw sourceChanged(decision.reason);
  const epoch = recorded?.epoch ?? nextGeneration(0, Date.now());
  const session = nextGeneration(state.session, Date.now());

  const source = (safe: Safe): SourceRecord => ({
    systemIdentifier: observed.systemIdentifier,
    timeline: observed.timeline,
    database: observed.database,
    slot: mapping.source.slot,
    epoch,
    session,
    acknowledged: formatLsn(safe.lsn),
    lastCommit:
      safe.lastCommit === null
        ? (recorded?.lastCommit ?? null)
        : { lsn: formatLsn(safe.lastCommit.commitLsn), xid: safe.lastCommit.xid },
    xids: [],
    at: new Date().toISOString(),
  });
  const record = (safe: Safe) => control.write([{ kind: 'source', ...source(safe) }]);
  await control.write([{ kind: 'session', session, startedAt: new Date().toISOString() }]);
  const confirmed = observed.slot?.confirmedFlush;
  if (confirmed !== undefined) {
    await record({ lsn: recordedSource(recorded)?.acknowledged ?? confirmed, lastCommit: null });
  }
  return { epoch, session, record, overlap: decision.kind === 'continue' ? decision.overlap : null };
}

export function recordedSource(record: SourceRecord | null): RecordedSource | null {
  if (record === null) return null;
  const { acknowledged, lastCommit } = record;
  return {
    ...record,
    acknowledged: acknowledged === null ? null : parseLsn(acknowledged),
    lastCommit: lastCommit === null ? null : { lsn: parseLsn(lastCommit.lsn), xid: lastCommit.xid },
  };
}

export function sourceChanged(reason: string): AppError {
  return new AppError('SOURCE_CHANGED', `The source is not the one that was recorded: ${reason}.`);
}
