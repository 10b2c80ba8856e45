/** `graph sync-data`: options to a run, its outcome to stderr and the exit code. */
import { AppError } from '../core/errors.ts';
import { type EntityFilter, entityTable } from '../core/entity-table.ts';
import { instantOf } from '../core/instants.ts';
import { formatLsn } from '../core/lsn.ts';
import { reportFile } from '../ops/report-file.ts';
import { spoolFile } from '../ops/spool-file.ts';
import type { Emit, Outcome } from '../pipelines/reconcile/reconcile.ts';
import { requireLoaded } from '../pipelines/wait.ts';
import { lockRun, REPAIR, REPLAY } from '../postgres/run-lock.ts';
import { yieldProcessor } from '../runtime/priority.ts';
import { typesOf } from './entity-types.ts';
import { enabledGraphContext, type GraphContext } from './graph-context.ts';
import { SERVERS, type Servers, waitSources, withDatabases, withServers } from './graph-reports.ts';
import { recordProof } from './proof.ts';
import { exitCodeOf, stopSignal } from './stop-signal.ts';
import { conclude } from './sync-data-outcome.ts';
import { compareAndRepair, type SyncRun } from './sync-data-run.ts';
import { besideStream, withoutStream } from './sync-data-ways.ts';

export interface SyncDataOptions {
  readonly checkResultsFile: string;
  readonly batchSize: number;
  readonly changedAfter?: string;
  readonly timezone: string;
  readonly dryRun: boolean;
  readonly entityTypes?: string;
  readonly maxWait: number;
  readonly maxRepairs: number;
  readonly failOnDrift: boolean;
  readonly deep: boolean;
  readonly printDiffs: boolean;
  readonly wholeGraph: boolean;
  readonly resume: boolean;
  /** Milliseconds of lag. */
  readonly throttle?: number;
  readonly direct: boolean;
  readonly fullSpeed: boolean;
}

const DATABASES = ['DATABASE_URL', 'NEO4J_URI'] as const;
/** Everything that can be wrong with the options is found before anything is read. */
export async function runSyncData(options: SyncDataOptions): Promise<void> {
  if (options.failOnDrift && !options.dryRun)
    throw new AppError('USAGE', '--fail-on-drift needs --dry-run: a repair run repairs the drift it finds.');
  if (options.wholeGraph && (options.entityTypes !== undefined || options.changedAfter !== undefined))
    throw new AppError(
      'USAGE',
      '--whole-graph compares everything: leave --entity-types and --changed-after out.',
    );
  if (options.direct && options.throttle !== undefined)
    throw new AppError('USAGE', '--throttle looks at the lag of the stream, which --direct is without.');
  const changedAfterMs =
    options.changedAfter === undefined ? null : instantOf(options.changedAfter, options.timezone);
  const file = await reportFile(options.checkResultsFile);
  const spool = await spoolFile(options.checkResultsFile, options.resume);
  const context = enabledGraphContext('sync-data', options.direct ? DATABASES : SERVERS);
  const { mapping, log, databaseUrl } = context;
  const entities = entityTable(mapping);
  const filter: EntityFilter = {
    changedAfterMicros: changedAfterMs === null ? null : BigInt(changedAfterMs) * 1000n,
    types: options.entityTypes === undefined ? null : typesOf(options.entityTypes, entities),
  };
  if (changedAfterMs !== null)
    log.info(
      { changedAfter: new Date(changedAfterMs).toISOString() },
      'only what changed after this instant',
    );

  // Without the stream there is none to yield to.
  if (!options.fullSpeed && !options.direct) yieldProcessor();
  const stop = stopSignal();
  const { slot } = mapping.source;
  const locks = [await lockRun(databaseUrl, REPAIR, slot, stop.fail)];
  try {
    // A replay writes where the stream's progress does not move.
    if (options.direct) locks.push(await lockRun(databaseUrl, REPLAY, slot, stop.fail));
    const run: Omit<SyncRun, 'begin'> = {
      ...options,
      entities,
      filter,
      maxWaitMs: options.maxWait * 1000,
      throttleMs: options.throttle ?? null,
      resultsFile: options.checkResultsFile,
      writeReport: (report) => file.write(report),
      spool,
      emit,
    };
    const outcome = options.direct
      ? await withDatabases(context, (databases) => {
          const begin = withoutStream(databases, context);
          return compareAndRepair(context, databases, { ...run, begin }, stop.signal);
        })
      : await withServers(context, (servers) => {
          const begin = besideStream(servers, context);
          return beside(context, servers, { ...run, begin }, options.resume, stop.signal);
        });
    conclude(outcome, options);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    process.exitCode = exitCodeOf(stop.signal.reason);
  } finally {
    stop.end();
    await file.close();
    for (const lock of locks) await lock.release();
  }
}

/**
 * Of all that is compared beside the stream, what compares everything may prove something: but not what an earlier run
 * compared, since that may differ by now.
 */
async function beside(
  context: GraphContext,
  servers: Servers,
  run: SyncRun,
  resumed: boolean,
  signal: AbortSignal,
): Promise<Outcome> {
  await requireLoaded(waitSources(servers, context), signal);
  const everything = run.wholeGraph && run.deep;
  if (everything && resumed)
    process.stderr.write(
      'A run that goes on from an earlier one proves nothing: run it once more without --resume.\n',
    );
  if (!everything || resumed) return compareAndRepair(context, servers, run, signal);
  const { outcome, through, unproved } = await recordProof(context, servers, run, signal);
  if (through === null) process.stderr.write(`Nothing is verified by this run: ${unproved}.\n`);
  else {
    const { epoch, lsn } = through;
    context.log.info({ epoch, lsn: formatLsn(lsn) }, 'the graph is verified through this position');
  }
  return outcome;
}

/** One line of the specification: keys in alphabetical order, the time in microseconds. */
const emit: Emit = (logger, event, fields = {}) => {
  const micros = Math.round((performance.timeOrigin + performance.now()) * 1000);
  const seconds = new Date(Math.floor(micros / 1000)).toISOString().slice(0, -4);
  const timestamp = `${seconds}${String(micros % 1_000_000).padStart(6, '0')}Z`;
  const line = { ...fields, event, level: 'info', logger: `eiq.platform.scripts.${logger}`, timestamp };
  const sorted = Object.entries(line).sort(([a], [b]) => (a < b ? -1 : 1));
  process.stdout.write(`${JSON.stringify(Object.fromEntries(sorted))}\n`);
};
