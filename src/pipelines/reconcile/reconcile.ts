/**
 * `graph sync-data`: proof and repair.
 *
 *   check (scan ─▶ confirm) ─▶ report ─▶ repair, by asking the stream ─▶ look again
 *
 * Guarantee: what is reported is drift and not a change on its way; a repair never undoes newer data, since it goes the
 * way of every change. On failure before the report there is none; after it, the report stays, and requests already
 * made are durable and will be served.
 */
import { AppError } from '../../core/errors.ts';
import { type CheckReport, type Findings, formatTook, reportOf } from '../../core/check-report.ts';
import { check, type CheckOptions } from './check.ts';
import { repair, type RepairContext } from './repair.ts';

/** An event of the specification, with its fields. */
export type Emit = (
  logger: 'sync_data_commons' | 'sync_data_in_neo4j',
  event: string,
  fields?: Readonly<Record<string, string | number>>,
) => void;

export interface ReconcileOptions {
  readonly check: CheckOptions;
  readonly repair: RepairContext;
  readonly dryRun: boolean;
  /** A guard against comparing with the wrong database. */
  readonly maxRepairs: number;
  readonly resultsFile: string;
  readonly writeReport: (report: CheckReport) => Promise<void>;
  readonly emit: Emit;
}

export interface Outcome {
  readonly findings: Findings;
  /** Ids that still differ after the repair. */
  readonly left: readonly string[];
}

/** Throws TIMED_OUT before anything is read if the stream is not at work; REPAIR_REFUSED with the report written. */
export async function reconcile(options: ReconcileOptions, signal: AbortSignal): Promise<Outcome> {
  const { dryRun, maxRepairs, resultsFile, emit } = options;
  await options.check.caughtUp(options.check.maxWaitMs);

  emit('sync_data_commons', 'Starting data check');
  const findings = await check(options.check, signal);
  const report = reportOf(findings);
  const { n_missing, n_not_deleted, n_ok, n_outdated, n_strange } = report;
  emit('sync_data_commons', 'Data check finished', { n_missing, n_not_deleted, n_ok, n_outdated, n_strange });
  emit('sync_data_commons', 'Writing check_results file', { filename: resultsFile });
  await options.writeReport(report);
  if (dryRun) return { findings, left: [] };

  const { entity_ids_to_delete: deletions, entity_ids_to_reindex: reindexed } = report;
  const repairs = deletions.length + reindexed.length;
  if (repairs > maxRepairs)
    throw new AppError(
      'REPAIR_REFUSED',
      `${repairs} entities differ, which is more than --max-repairs ${maxRepairs}.`,
    );
  const startedAt = performance.now();
  emit('sync_data_in_neo4j', `Deleting ${deletions.length} entities that should not be in Neo4J`);
  const left = await repair([...deletions, ...reindexed], options.repair, signal);
  const took = formatTook((performance.now() - startedAt) / 60_000);
  emit('sync_data_in_neo4j', 'sync-data.done', { took, total: reindexed.length });
  return { findings, left };
}
