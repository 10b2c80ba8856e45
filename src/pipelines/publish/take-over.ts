/**
 * A session on a slot that is ours (design §2): its epoch, and a session number above all before it. What a paused
 * predecessor may still write carries its own, older number.
 */
import type { Loads } from '../../core/loads.ts';
import type { Safe } from '../../core/acknowledgements.ts';
import { formatLsn, type Lsn, LSN_ZERO } from '../../core/lsn.ts';
import { nextGeneration } from '../../core/position.ts';
import type { Mapping } from '../../core/mapping.ts';
import { type Published, unmappedTables } from '../../core/source-identity.ts';
import { type ControlWriter, type SourceRecord, unfinishedRecovery } from '../../kafka/control.ts';
import { recordedSource } from './judge-source.ts';
import type { Prepared } from './prepare.ts';

export interface Session {
  readonly epoch: number;
  readonly session: number;
  /** The last commit of the previous session, if the slot is to replay it. */
  readonly overlap: { readonly lsn: Lsn; readonly xid: number } | null;
  /** It is the first one of an epoch that a recovery began. */
  readonly opensEpoch: boolean;
  /** Remembers that it has begun, where the last one was; durable when resolved. */
  readonly begin: () => Promise<void>;
  /** Remembers what is about to be acknowledged; durable when resolved. */
  readonly record: (safe: Safe) => Promise<void>;
  /** Remembers a gap that stream or topics have shown: what shows it may not come again. Durable when resolved. */
  readonly recordGap: (reason: string) => Promise<void>;
}

export interface TakeOverContext {
  readonly mapping: Mapping;
  readonly control: ControlWriter;
  /** Throws if the slot is another's by now: a process that was paused has no say any more. */
  readonly requireOurs: () => Promise<void>;
}

/** What goes on in the session, recorded with each acknowledgement. */
export interface SessionState {
  /** Received, and seen by no snapshot yet. */
  readonly xids: () => SourceRecord['xids'];
  readonly loads: (acknowledged: Lsn) => Loads;
  readonly published: () => Published;
  readonly requests: () => Pick<SourceRecord, 'askedAgain' | 'refusedRequests'>;
  readonly ends: () => SourceRecord['ends'];
}

/** Durable when resolved: from here on every record of an older session is stale. */
export async function takeOver(
  { state, observed, decision }: Prepared,
  { mapping, control, requireOurs }: TakeOverContext,
  current: SessionState,
): Promise<Session> {
  const recorded = state.source;
  const epoch = recorded?.epoch ?? nextGeneration(0, Date.now());
  const session = nextGeneration(state.session, Date.now());

  const overlap = decision.kind === 'continue' ? decision.overlap : null;
  const lastCommit = overlap && { lsn: formatLsn(overlap.lsn), xid: overlap.xid };

  const unmapped = unmappedTables(recorded?.published ?? {}, mapping.tables);
  let found: Pick<SourceRecord, 'gap'> = {};
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
        ? (lastCommit ?? recorded?.lastCommit ?? null)
        : { lsn: formatLsn(safe.lastCommit.commitLsn), xid: safe.lastCommit.xid },
    loads: current.loads(safe.lsn),
    published: { ...unmapped, ...current.published() },
    ...current.requests(),
    xids: current.xids(),
    ends: current.ends(),
    at: new Date().toISOString(),
    ...found,
  });
  const record = (safe: Safe) => control.write([{ kind: 'source', ...source(safe) }]);
  const opensEpoch = unfinishedRecovery(state) !== null && recorded?.acknowledged == null;
  await requireOurs();
  await control.write([{ kind: 'session', session, startedAt: new Date().toISOString() }]);
  // An idle position of the old timeline may be one that the new one has not reached yet: it means nothing there.
  const known = recorded?.timeline === observed.timeline ? recordedSource(recorded)?.acknowledged : null;
  const acknowledged = known ?? observed.slot?.confirmedFlush ?? LSN_ZERO;
  const begun = { lsn: acknowledged, lastCommit: null };
  const begin = async () => {
    await record(begun);
    await control.forgetOldSessions(state);
  };
  const recordGap = (gap: string) => {
    // What is still being acknowledged is recorded with it.
    found = { gap };
    return record(begun);
  };
  return { epoch, session, overlap, opensEpoch, begin, record, recordGap };
}
