/**
 * `graph sync-data`: proof and repair.
 *
 *   check (scan ─▶ confirm) ─▶ report ─▶ repair, by asking the stream ─▶ look again
 *
 * Guarantee: what is reported is drift and not a change on its way; a repair never undoes newer data, since it goes the
 * way of every change. On failure before the report there is none; after it, the report stays, and requests already
 * made are durable and will be served. The spool goes when all of that is done, so that whatever ended early can go on.
 */
import { AppError } from '../../core/errors.ts';
import { type CheckReport, formatTook, reportOf } from '../../core/check-report.ts';
import type { Counts } from '../../core/check-spool.ts';
import { check, type CheckOptions, type Spool } from './check.ts';
import { type Left, repair, type RepairContext } from './repair.ts';

/** An event of the specification, with its fields. */
export type Emit = (
  logger: 'sync_data_commons' | 'sync_data_in_neo4j',
  event: string,
  fields?: Readonly<Record<string, string | number>>,
) => void;

export interface ReconcileOptions {
  readonly check: CheckOptions;
  readonly repair: RepairContext;
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
  readonly left: Left;
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
    return outcome;
  } finally {
    await spool.close();
  }
}

async function checkAndRepair(
  options: ReconcileOptions,
  spool: Spool,
  signal: AbortSignal,
): Promise<Outcome> {
  const { dryRun, maxRepairs, resultsFile, emit } = options;
  emit('sync_data_commons', 'Starting data check');
  const { counts } = await check(options.check, spool, signal);
  const report = reportOf(counts, spool.lines);
  const { n_missing, n_not_deleted, n_ok, n_outdated, n_strange } = report;
  emit('sync_data_commons', 'Data check finished', { n_missing, n_not_deleted, n_ok, n_outdated, n_strange });
  emit('sync_data_commons', 'Writing check_results file', { filename: resultsFile });
  await options.writeReport(report);
  if (dryRun) return { counts, left: { count: 0, some: [] } };

  const { entity_ids_to_delete: deletions, entity_ids_to_reindex: reindexed } = report;
  const repairs = deletions.count + reindexed.count;
  if (repairs > maxRepairs)
    throw new AppError(
      'REPAIR_REFUSED',
      `${repairs} entities differ, which is more than --max-repairs ${maxRepairs}.`,
    );
  const startedAt = performance.now();
  emit('sync_data_in_neo4j', `Deleting ${deletions.count} entities that should not be in Neo4J`);
  const left = await repair(both(deletions.ids(), reindexed.ids()), options.repair, signal);
  const took = formatTook((performance.now() - startedAt) / 60_000);
  emit('sync_data_in_neo4j', 'sync-data.done', { took, total: reindexed.count });
  return { counts, left };
}

async function* both<T>(first: AsyncIterable<T>, second: AsyncIterable<T>): AsyncGenerator<T> {
  yield* first;
  yield* second;
}
