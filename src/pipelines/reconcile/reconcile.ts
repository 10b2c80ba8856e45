/**
 * `graph sync-data`: proof and repair.
 *
 *   check (scan ─▶ confirm, other tables too if asked for) ─▶ report ─▶ repair, by asking the stream or without it ─▶ look again
 *
 * Guarantee: what is reported is drift and not a change on its way; a repair never undoes newer data, since it goes the
 * way of every change, or is written only where nothing has moved. On failure before the report there is none; after it, the report stays, and requests already
 * made are durable and will be served. The spool goes when all of that is done, so that whatever ended early can go on.
 */
import { AppError } from '../../core/errors.ts';
import { type CheckReport, formatTook, reportOf } from '../../core/check-report.ts';
import type { Counts } from '../../core/check-spool.ts';
import { driftIn, type WholeGraph, wholeGraphOf } from '../../core/whole-graph.ts';
import { both, type Left, NOTHING_LEFT } from './ask.ts';
import { check, type CheckOptions, type Spool } from './check.ts';
import { repair, type RepairContext } from './repair.ts';
import { repairWholeGraph } from './repair-whole-graph.ts';
import { checkWholeGraph, type WholeGraphOptions } from './whole-graph.ts';

/** An event of the specification, with its fields. */
export type Emit = (
  logger: 'sync_data_commons' | 'sync_data_in_neo4j',
  event: string,
  fields?: Readonly<Record<string, string | number>>,
) => void;

/** What it does, and how far that is; `of` null: of how many is not known. */
export type OnPhase = (
  phase: 'checking' | 'other tables' | 'reporting' | 'repairing',
  done: number,
  of: number | null,
) => void;

export interface ReconcileOptions {
  readonly check: Omit<CheckOptions, 'onProgress'>;
  /** Estimates of how much there is to compare; null: there is none. */
  readonly expected: { readonly entities: number | null; readonly others: number | null };
  readonly onPhase: OnPhase;
  readonly repair: RepairContext;
  /** null: only the entities. */
  readonly wholeGraph: WholeGraphOptions | null;
  /** Throws if what was found may not be what is there any more; the stream's waits find that out by themselves. */
  readonly requireStill: (() => Promise<void>) | null;
  /** By the end, the rows that could not be written. */
  readonly refused: ReadonlySet<string>;
  readonly openSpool: () => Promise<Spool>;
  /** Nodes that no page has and no repair can name. */
  readonly countUnnamed: () => Promise<number>;
  readonly onUnnamed: (nodes: number) => void;
  readonly dryRun: boolean;
  /** A guard against comparing with the wrong database. */
  readonly maxRepairs: number;
  readonly resultsFile: string;
  readonly writeReport: (report: CheckReport) => Promise<void>;
  readonly emit: Emit;
}

export interface Outcome {
  readonly counts: Counts;
  /** Entity nodes that no page has and no repair can name: they are in no count. */
  readonly unnamed: number;
  readonly left: Left;
  /** Rows that could not be written, relations and links too, which only a comparison of everything has in `left`. */
  readonly refused: number;
  readonly wholeGraph: { readonly found: WholeGraph; readonly left: Left } | null;
}

/** Throws TIMED_OUT before anything is read if the stream is not at work; REPAIR_REFUSED with the report written. */
export async function reconcile(options: ReconcileOptions, signal: AbortSignal): Promise<Outcome> {
  await options.check.caughtUp(options.check.maxWaitMs);
  const unnamed = await options.countUnnamed();
  if (unnamed > 0) options.onUnnamed(unnamed);

  const spool = await options.openSpool();
  try {
    const outcome = await checkAndRepair(options, spool, signal);
    await spool.remove();
    return { ...outcome, unnamed, refused: options.refused.size };
  } finally {
    await spool.close();
  }
}

async function checkAndRepair(
  options: ReconcileOptions,
  spool: Spool,
  signal: AbortSignal,
): Promise<Omit<Outcome, 'unnamed' | 'refused'>> {
  const { dryRun, maxRepairs, resultsFile, expected, emit, onPhase } = options;
  emit('sync_data_commons', 'Starting data check');
  const onProgress = (compared: number) => {
    onPhase('checking', compared, expected.entities);
  };
  const { counts } = await check({ ...options.check, onProgress }, spool, signal);
  const found = await comparedWhole(options, spool, signal);
  await options.requireStill?.();
  onPhase('reporting', 0, null);
  const { deep = false, diffs = false } = options.check.contents ?? {};
  const report = reportOf(counts, spool.lines, { deep, diffs, wholeGraph: found });
  const { n_missing, n_not_deleted, n_ok, n_outdated, n_strange } = report;
  emit('sync_data_commons', 'Data check finished', { n_missing, n_not_deleted, n_ok, n_outdated, n_strange });
  emit('sync_data_commons', 'Writing check_results file', { filename: resultsFile });
  await options.writeReport(report);
  const outcome = (left: Left, wholeLeft: Left): Omit<Outcome, 'unnamed' | 'refused'> => ({
    counts,
    left,
    wholeGraph: found === null ? null : { found, left: wholeLeft },
  });
  if (dryRun) return outcome(NOTHING_LEFT, NOTHING_LEFT);

  const { entity_ids_to_delete: deletions, entity_ids_to_reindex: toReindex, entity_ids_different } = report;
  const different = entity_ids_different ?? { count: 0, items: none };
  const reindexed = toReindex.count + different.count;
  const repairs = deletions.count + reindexed + (found === null ? 0 : driftIn(found));
  if (repairs > maxRepairs)
    throw new AppError(
      'REPAIR_REFUSED',
      `${repairs} ${found === null ? 'entities' : 'entities and other keys'} differ, which is more than --max-repairs ${maxRepairs}.`,
    );
  const startedAt = performance.now();
  emit('sync_data_in_neo4j', `Deleting ${deletions.count} entities that should not be in Neo4J`);
  const onMended = counting((mended) => {
    onPhase('repairing', mended, repairs);
  });
  const repairing: RepairContext = { ...options.repair, onMended };
  const undeleted = await repair(deletions.items(), repairing, signal);
  const unmended = await repair(inTurn(toReindex.items(), different.items()), repairing, signal);
  const wholeLeft =
    found === null || options.wholeGraph === null
      ? NOTHING_LEFT
      : await repairWholeGraph(found, options.wholeGraph, repairing, signal);
  const took = formatTook((performance.now() - startedAt) / 60_000);
  emit('sync_data_in_neo4j', 'sync-data.done', { took, total: reindexed - unmended.count });
  return outcome(both(undeleted, unmended), wholeLeft);
}

async function comparedWhole(
  { wholeGraph, expected, onPhase }: ReconcileOptions,
  spool: Spool,
  signal: AbortSignal,
): Promise<WholeGraph | null> {
  if (wholeGraph === null) return null;
  const { run, tables } = wholeGraph;
  const onCompared = counting((compared) => {
    onPhase('other tables', compared, expected.others);
  });
  await checkWholeGraph({ ...wholeGraph, onCompared }, spool, signal);
  return wholeGraphOf(
    run,
    tables.map(({ table }) => table),
    spool.lines,
  );
}

/** Tells the sum, which begins with 0. */
function counting(tell: (sum: number) => void): (more: number) => void {
  let sum = 0;
  tell(sum);
  return (more) => {
    sum += more;
    tell(sum);
  };
}

async function* inTurn<T>(...parts: readonly AsyncIterable<T>[]): AsyncGenerator<T> {
  for (const part of parts) yield* part;
}

async function* none(): AsyncGenerator<never> {
  // Nothing is different where content is not compared.
}
