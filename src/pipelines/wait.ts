/**
 * Waits until the graph has everything that was committed before the call (design §5):
 *
 *   marker in the WAL at L ─▶ the slot has confirmed L, so by I9 all of it is in Kafka ─▶ where the topics end now
 *     ─▶ the graph's progress, which fits these topics, has reached those ends
 *
 * Before that all rows must have been asked for that no change in the stream brings: of the initial load, and of tables
 * with rewritten columns.
 * Progress of a graph that is being emptied, or is to be built from rows that have not all been asked for, says nothing
 * of what it has: the marker comes behind the last of those requests.
 * Never compares with the WAL's insert position: asynchronous commits are visible beyond it, and on an idle server it
 * is never confirmed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../core/errors.ts';
import { describeLoad, unloaded } from '../core/loads.ts';
import { formatLsn, type Lsn, parseLsn } from '../core/lsn.ts';
import type { Mapping } from '../core/mapping.ts';
import { MARKER_PREFIX } from '../core/messages.ts';
import { rewrittenColumns, rewrittenKeys } from '../core/source-identity.ts';
import type { SourceRecord } from '../kafka/control.ts';
import type { PartitionRange } from '../kafka/offsets.ts';
import type { PartitionProgress } from '../neo4j/progress.ts';
import type { RebuildMark } from '../neo4j/rebuild-mark.ts';
import type { Sql } from '../postgres/client.ts';
import { emitMessage } from '../postgres/messages.ts';
import { publishedTables } from '../postgres/publication.ts';
import { inspectSlot, type SlotInfo } from '../postgres/slot.ts';
import { inspectSource, requirePrimary } from '../postgres/source.ts';
import { type Misfit, misfits, type Topics } from './fit.ts';

export interface WaitSources {
  readonly mapping: Mapping;
  readonly sql: Sql;
  /** As recorded; null: no publisher has ever been at work. */
  readonly recorded: () => Promise<Recorded | null>;
  readonly topicEnds: () => Promise<readonly PartitionRange[]>;
  readonly progress: () => Promise<readonly PartitionProgress[]>;
  /** Of the graph, if one was begun and not brought to its end. */
  readonly rebuild: () => Promise<Rebuilding | null>;
}

type Rebuilding = Pick<RebuildMark, 'state' | 'startedAt' | 'republish'>;

export interface Recorded extends Pick<SourceRecord, 'loads' | 'askedAgain' | 'published'> {
  /** Why a recovery was begun that is not finished; null: there is none. */
  readonly recovering: readonly string[] | null;
  readonly recovery: Topics['recovery'];
  readonly generations: Topics['generations'];
}

const FIRST_POLL_MS = 10;
const LAST_POLL_MS = 250;
/** What a publisher at work has seen is on record by then. */
const NOTICED_MS = 15_000;

type PublisherSources = Pick<WaitSources, 'mapping' | 'sql' | 'recorded'>;

/**
 * Throws LOADING, with how far it is, while rows may be missing in the graph, or stale, that no change in the stream
 * brings; SOURCE_CHANGED if rows had other keys.
 */
export async function requireLoaded(sources: PublisherSources, signal: AbortSignal): Promise<void> {
  await until(performance.now() + NOTICED_MS, signal, async () => {
    const recorded = await sources.recorded();
    const unfinished = stillLoading(sources.mapping, recorded);
    if (unfinished !== null) throw unfinished;
    return toBeLoadedAgain(sources, recorded, signal);
  });
}

/** Waits for the initial load. Throws, when time is up, as `requireLoaded`. */
export async function waitUntilLoaded(
  sources: PublisherSources,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  await until(deadline, signal, async () => {
    const recorded = await sources.recorded();
    return stillLoading(sources.mapping, recorded) ?? (await toBeLoadedAgain(sources, recorded, signal));
  });
}

function stillLoading({ tables }: Mapping, recorded: Recorded | null): AppError | null {
  if (recorded === null) return null;
  const { loads, recovering } = recorded;
  if (recovering !== null)
    return new AppError('LOADING', `The graph is being recovered, because ${recovering.join('; ')}.`);
  const pending = unloaded(loads, tables);
  if (pending.length === 0) return null;
  const left = pending.map((table) => describeLoad(table, loads[table]));
  return new AppError('LOADING', `The graph is still loading: ${left.join(', ')}.`);
}

/** By a publisher that has not noticed yet. What is recorded follows what it has seen a little later. */
async function toBeLoadedAgain(
  { mapping: { source, tables }, sql }: PublisherSources,
  recorded: Recorded | null,
  signal: AbortSignal,
): Promise<AppError | null> {
  const published = recorded?.published ?? {};
  const now = await publishedTables(sql, { publication: source.publication, tables }, signal);
  const gap = rewrittenKeys(published, now);
  if (gap !== null)
    throw new AppError('SOURCE_CHANGED', `The source is not the one that was recorded: ${gap}.`);
  const [first] = rewrittenColumns(published, now, tables);
  if (first === undefined) return null;
  return new AppError(
    'LOADING',
    `The graph is still to be loaded again: column ${first.column} of ${first.table} was replaced, retyped or rewritten.`,
    { furtherRemedy: 'The publisher begins by itself; start one if none is at work.' },
  );
}

/**
 * As `waitForGraph`, and for the answers to every request that was made before the call: what is left of one is asked
 * for behind our marker, and another marker comes behind that.
 */
export async function waitForAnswers(
  sources: WaitSources,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const marker = await waitForGraph(sources, Math.max(1, deadline - performance.now()), signal);
    const askedAgain = (await sources.recorded())?.askedAgain ?? null;
    if (askedAgain === null || parseLsn(askedAgain) < marker) return;
  }
}

/**
 * Resolves, to its marker, when it is there. Throws TIMED_OUT with how far it is, LOADING if a rebuild has left it without
 * a part of the rows, PROGRESS_GAP if topics and graph do not fit, or the signal's reason.
 */
export async function waitForGraph(
  sources: WaitSources,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Lsn> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const before = await untilAsked(sources, deadline, signal);
    const marker = await reachMarker(sources, deadline, signal);
    const after = await sources.rebuild();
    if (after === null || (notAsked(after) === null && after.startedAt === before?.startedAt)) return marker;
  }
}

async function untilAsked(
  { rebuild }: WaitSources,
  deadline: number,
  signal: AbortSignal,
): Promise<Rebuilding | null> {
  let found: Rebuilding | null = null;
  await until(deadline, signal, async () => notAsked((found = await rebuild())));
  return found;
}

async function reachMarker(sources: WaitSources, deadline: number, signal: AbortSignal): Promise<Lsn> {
  const marker = await waitUntilPublished(sources, Math.max(1, deadline - performance.now()), signal);
  let ends: readonly PartitionRange[] = [];
  await until(deadline, signal, async () => {
    const progress = await sources.progress();
    ends = await sources.topicEnds();
    return notFitting(misfits(progress, { ranges: ends, ...(await generationsOf(sources)) }));
  });
  await until(deadline, signal, async () => {
    const behind = recordsBehind(ends, await sources.progress());
    return behind === 0n ? null : notApplied(behind);
  });
  return marker;
}

function notAsked(rebuild: Rebuilding | null): AppError | null {
  if (rebuild === null || (rebuild.state !== 'emptying' && !rebuild.republish)) return null;
  const what =
    rebuild.state === 'emptying' ? 'being emptied' : 'to be built from rows that are still to be asked for';
  return new AppError(
    'LOADING',
    `The graph is ${what}, by a rebuild that was begun at ${rebuild.startedAt}.`,
    { furtherRemedy: 'If it does not run any more, run graph rebuild again: it goes on.' },
  );
}

async function generationsOf({ recorded }: WaitSources): Promise<Omit<Topics, 'ranges'>> {
  return (await recorded()) ?? { generations: new Map(), recovery: null };
}

/** Throws PROGRESS_GAP for what no recovery is about to mend. */
function notFitting(found: readonly Misfit[]): AppError | null {
  const lasting = found.find(({ passing }) => !passing);
  if (lasting !== undefined) throw new AppError('PROGRESS_GAP', `The graph is not there: ${lasting.why}.`);
  const [first] = found;
  if (first === undefined) return null;
  return new AppError(
    'TIMED_OUT',
    `The graph is not there yet: no projector has taken up what the recovery began; ${first.why}.`,
  );
}

/** As `emitMessage`, of something that asks for nothing. */
export function emitMarker(sql: Sql, signal?: AbortSignal): Promise<Lsn> {
  return emitMessage(sql, MARKER_PREFIX, JSON.stringify({ v: 1, id: crypto.randomUUID() }), signal);
}

/** As `waitForGraph`, of the topics alone. */
export async function waitUntilPublished(
  sources: PublisherSources,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Lsn> {
  const deadline = performance.now() + timeoutMs;
  const marker = await emitMarker(sources.sql, signal);
  await until(deadline, signal, async () => {
    const slot = await requireSlot(sources, signal);
    return slot.confirmedFlush >= marker
      ? null
      : notPublished(slot.confirmedFlush, marker, slot.activePid !== null);
  });
  return marker;
}

/** Throws POSTGRES_FAILED of a standby, else STREAM_STOPPED if no publisher has ever made it, SOURCE_CHANGED if one has. */
export async function requireSlot(
  { mapping, sql, recorded }: PublisherSources,
  signal: AbortSignal,
): Promise<SlotInfo> {
  const { slot } = mapping.source;
  const found = await inspectSlot(sql, slot, signal);
  if (found !== null) return found;
  requirePrimary(await inspectSource(sql, signal));
  if ((await recorded()) === null)
    throw new AppError('STREAM_STOPPED', `The slot ${slot} does not exist: no publisher has ever started.`);
  throw new AppError('SOURCE_CHANGED', `The slot ${slot} does not exist.`);
}

/** How many records of the topics the graph does not have yet; holes that compaction left count as records. */
export function recordsBehind(
  ends: readonly PartitionRange[],
  progress: readonly PartitionProgress[],
): bigint {
  const next = new Map(progress.map((p) => [`${p.topic}-${p.partition}`, p.next]));
  return ends.reduce((sum, { topic, partition, low, end }) => {
    const reached = next.get(`${topic}-${partition}`) ?? low;
    return sum + (end > reached ? end - reached : 0n);
  }, 0n);
}

/** Looks until `check` finds nothing unfinished; throws what it found last when time is up. */
export async function until(
  deadline: number,
  signal: AbortSignal,
  check: () => Promise<AppError | null>,
): Promise<void> {
  for (let pauseMs = FIRST_POLL_MS; ; pauseMs = Math.min(pauseMs * 1.5, LAST_POLL_MS)) {
    const unfinished = await check();
    if (unfinished === null) return;
    if (performance.now() + pauseMs > deadline) throw unfinished;
    await delay(pauseMs, undefined, { signal });
  }
}

function notPublished(confirmed: Lsn, marker: Lsn, active: boolean): AppError {
  const state = active ? 'the publisher is at work' : 'no publisher is running';
  return new AppError(
    'TIMED_OUT',
    `The graph is not there yet: Kafka has everything up to ${formatLsn(confirmed)} of ${formatLsn(marker)}; ${state}.`,
  );
}

function notApplied(records: bigint): AppError {
  return new AppError(
    'TIMED_OUT',
    `The graph is not there yet: Kafka has everything, ${records} records are not applied.`,
  );
}
