/**
 * Is this still the source that was recorded (I6)? A pure decision over what the control topic remembers and what
 * PostgreSQL says now. Anything but a first start or a clean continuation is a gap: it is named, never guessed away.
 */
import { formatLsn, type Lsn } from './lsn.ts';

/**
 * By table: how it is in the publication. Another text of a table: changes of it may have passed by unseen.
 * By mapped column (`columnEntry`): what it is.
 */
export type Published = Readonly<Record<string, string>>;

/** The publication itself, in place of a table; it has another text once it was altered, if only for a moment. */
export const PUBLICATION = 'publication';

/** The text of a mapped table that does not exist. */
export const ABSENT = 'absent';

/** What is recorded of a table while it is not mapped, and was. */
const NOT_MAPPED = 'not mapped';

const COLUMN = 'column ';
const KEY = 'key ';

/**
 * `table`: schema.name. The text is `attnum/type/version of its description/file of the table`; that of an enum's type
 * `oid,value=version,value=version`.
 */
export function columnEntry(table: string, column: string, isKey: boolean): string {
  return `${isKey ? KEY : COLUMN}${table}.${column}`;
}

/** As recorded before it was acknowledged (I9). */
export interface RecordedSource {
  readonly epoch: number;
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly database: string;
  readonly slot: string;
  /** The LSN that was about to be acknowledged; null while a first start has not yet made its slot. */
  readonly acknowledged: Lsn | null;
  readonly lastCommit: { readonly lsn: Lsn; readonly xid: number } | null;
  readonly published: Published;
  /** What a session found in the stream. */
  readonly gap?: string | undefined;
}

export interface ObservedSource {
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly database: string;
  readonly currentLsn: Lsn;
  readonly published: Published;
  /** Where the recorded timeline was left for the present one; null if it was not, or is none of its ancestors. */
  readonly recordedTimelineEnd: Lsn | null;
  readonly slot: {
    readonly confirmedFlush: Lsn;
    readonly invalidation: string | null;
    /** Synchronised from a primary by PostgreSQL 17+: it survives a promotion, and keeps this mark for ever after. */
    readonly synced: boolean;
  } | null;
}

export type SourceDecision =
  | { readonly kind: 'first-start' }
  /** `overlap`: the last published commit must be seen again in the replayed part, else it is a gap. */
  | { readonly kind: 'continue'; readonly overlap: { readonly lsn: Lsn; readonly xid: number } | null }
  | { readonly kind: 'gap'; readonly reason: string };

export function decideSource(
  recorded: RecordedSource | null,
  observed: ObservedSource,
  topicsExisted: boolean,
): SourceDecision {
  const { slot } = observed;
  if (recorded === null) {
    if (slot === null && !topicsExisted) return { kind: 'first-start' };
    return slot === null
      ? gap('the data topics exist, but neither the slot nor a record of the source does')
      : gap(`the slot exists, but the control topic holds no record of the source`);
  }
  if (recorded.systemIdentifier !== observed.systemIdentifier) {
    return gap('PostgreSQL has another system identifier: it is another cluster than the one recorded');
  }
  if (recorded.database !== observed.database) {
    return gap(`the record is of database ${recorded.database}, this is ${observed.database}`);
  }
  if (recorded.gap !== undefined) return gap(recorded.gap);
  if (slot !== null && slot.invalidation !== null)
    return gap(`the slot was invalidated (${slot.invalidation}): its changes are gone`);
  const unseen = changedPublication(recorded.published, observed.published);
  if (recorded.acknowledged === null) return unseen === null ? { kind: 'first-start' } : gap(unseen);
  if (slot === null) return gap(`the slot ${recorded.slot} no longer exists`);
  const missing =
    recorded.timeline === observed.timeline
      ? missingAfterRestore(recorded.acknowledged, observed.currentLsn)
      : missingAfterPromotion(recorded, observed, slot.synced);
  if (missing !== null) return gap(missing);
  if (slot.confirmedFlush > recorded.acknowledged) {
    return gap(
      `the slot stands at ${formatLsn(slot.confirmedFlush)}, ahead of the recorded ${formatLsn(recorded.acknowledged)}`,
    );
  }
  if (unseen !== null) return gap(unseen);
  const replaysLastCommit = recorded.lastCommit !== null && slot.confirmedFlush <= recorded.lastCommit.lsn;
  return { kind: 'continue', overlap: replaysLastCommit ? recorded.lastCommit : null };
}

/** Why changes may have passed by unseen; null: none did. A table that is on one side only says nothing. */
export function changedPublication(recorded: Published, now: Published): string | null {
  // From PostgreSQL 18 on the stream goes on without it, and without any change.
  if (recorded[PUBLICATION] !== undefined && now[PUBLICATION] === undefined)
    return 'the publication no longer exists, so that changes may be missing';
  const changed = Object.keys(recorded).filter(
    (name) => !isColumn(name) && (now[name] ?? recorded[name]) !== recorded[name],
  );
  const back = changed.filter((name) => recorded[name] === NOT_MAPPED);
  if (back.length > 0)
    return `${back.join(', ')}: was not mapped for a while, so that changes may be missing`;
  const tables = changed.filter((name) => name !== PUBLICATION);
  if (tables.length > 0)
    return `${tables.join(', ')}: not published as was recorded, or another table of that name, so that changes may be missing`;
  const keys = rewrittenKeys(recorded, now);
  if (keys !== null) return keys;
  return changed.length === 0 ? null : 'the publication was altered, so that changes may be missing';
}

/** Why rows may have had other keys; null: none had. */
export function rewrittenKeys(recorded: Published, now: Published): string | null {
  const keys = Object.keys(recorded).filter(
    (name) => name.startsWith(KEY) && isRewritten(recorded, now, name),
  );
  if (keys.length === 0) return null;
  return `${keys.map((name) => name.slice(KEY.length)).join(', ')}: a key that was replaced, retyped or rewritten, so that rows may have had other keys`;
}

/** Of recorded tables that are not mapped now, what to record: changes of them pass by. */
export function unmappedTables(
  recorded: Published,
  tables: readonly { readonly table: string }[],
): Published {
  const mapped = new Set([PUBLICATION, ...tables.map(({ table }) => table)]);
  const unmapped = Object.keys(recorded).filter((name) => !isColumn(name) && !mapped.has(name));
  return Object.fromEntries(unmapped.map((name) => [name, NOT_MAPPED]));
}

/**
 * Mapped columns that are others now, or whose values were rewritten, which no change in the stream tells of. No row went
 * by it, unless the column is of the key: then it is a gap.
 */
export function rewrittenColumns(
  recorded: Published,
  now: Published,
  tables: readonly { readonly table: string; readonly columns: ReadonlyMap<string, unknown> }[],
): { readonly table: string; readonly column: string }[] {
  return tables.flatMap(({ table, columns }) =>
    [...columns.keys()]
      .filter((column) => isRewritten(recorded, now, columnEntry(table, column, false)))
      .map((column) => ({ table, column })),
  );
}

/** What rewrites values changes both the column's description and the file; each alone is changed by much else. */
function isRewritten(recorded: Published, now: Published, entry: string): boolean {
  const before = recorded[entry]?.split('/');
  const after = now[entry]?.split('/');
  if (before === undefined || after === undefined) return false;
  const [attnum, type, version, file] = before.map((part, i) => part !== after[i]);
  // A value that an enum was given in addition stands behind those that it had.
  const retyped = type === true && after[1]?.startsWith(`${before[1] ?? ''},`) !== true;
  return attnum === true || retyped || (version === true && file === true);
}

function isColumn(name: string): boolean {
  return name.startsWith(COLUMN) || name.startsWith(KEY);
}

function missingAfterRestore(acknowledged: Lsn, currentLsn: Lsn): string | null {
  if (currentLsn >= acknowledged) return null;
  return `the WAL ends at ${formatLsn(currentLsn)}, before the recorded ${formatLsn(acknowledged)}`;
}

/**
 * What was acknowledged beyond the point of promotion, but holds no commit of ours, is no loss: an idle position says
 * only how far the old primary had read.
 */
function missingAfterPromotion(
  recorded: RecordedSource,
  observed: ObservedSource,
  synced: boolean,
): string | null {
  const { timeline, lastCommit } = recorded;
  const { recordedTimelineEnd: end } = observed;
  if (!synced) return `the timeline changed from ${timeline} to ${observed.timeline} without a synced slot`;
  if (end === null) return `timeline ${timeline} is no ancestor of timeline ${observed.timeline}`;
  if (lastCommit === null || lastCommit.lsn < end) return null;
  const lost = `the last published transaction, committed at ${formatLsn(lastCommit.lsn)}`;
  return `timeline ${observed.timeline} left timeline ${timeline} at ${formatLsn(end)}, before ${lost}`;
}

function gap(reason: string): SourceDecision {
  return { kind: 'gap', reason };
}
