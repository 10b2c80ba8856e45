/** `graph sync-data`: options to a run, events to stdout, progress to stderr, the outcome to the exit code. */
import { randomUUID } from 'node:crypto';
import { AppError } from '../core/errors.ts';
import { type EntityFilter, type EntityTable, entityTable } from '../core/entity-table.ts';
import { instantOf } from '../core/instants.ts';
import { graphEntities } from '../neo4j/entities.ts';
import { reportFile } from '../ops/report-file.ts';
import { spoolFile } from '../ops/spool-file.ts';
import { type Emit, reconcile } from '../pipelines/reconcile/reconcile.ts';
import { type Throttle, throttle } from '../pipelines/reconcile/throttle.ts';
import { entityContents } from '../pipelines/reconcile/deep.ts';
import { requireSameSource } from '../pipelines/same-source.ts';
import { lagMs, requireLoaded, waitForGraph, type WaitSources } from '../pipelines/wait.ts';
import { sourceEntities } from '../postgres/entities.ts';
import { lockRun } from '../postgres/run-lock.ts';
import { inspectSource } from '../postgres/source.ts';
import { estimateRows } from '../postgres/tables.ts';
import type { Log } from '../runtime/log.ts';
import { typesOf } from './entity-types.ts';
import { enabledGraphContext, type GraphContext } from './graph-context.ts';
import { SERVERS, waitSources, withServers } from './graph-reports.ts';
import { scanProgress } from './scan-progress.ts';
import { conclude } from './sync-data-outcome.ts';

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
}

const INTERRUPTED = 130;
const TERMINATED = 143;

/** Everything that can be wrong with the options is found before anything is read. */
export async function runSyncData(options: SyncDataOptions): Promise<void> {
  if (options.failOnDrift && !options.dryRun)
    throw new AppError('USAGE', '--fail-on-drift needs --dry-run: a repair run repairs the drift it finds.');
  if (options.wholeGraph && (options.entityTypes !== undefined || options.changedAfter !== undefined))
    throw new AppError(
      'USAGE',
      '--whole-graph compares everything: leave --entity-types and --changed-after out.',
    );
  const changedAfterMs =
    options.changedAfter === undefined ? null : instantOf(options.changedAfter, options.timezone);
  const file = await reportFile(options.checkResultsFile);
  const spool = await spoolFile(options.checkResultsFile, options.resume);
  const context = enabledGraphContext('sync-data', SERVERS);
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

  const stop = stopSignal();
  const lock = await lockRun(databaseUrl, 'graph sync-data', mapping.source.slot);
  try {
    const outcome = await withServers(context, async (servers) => {
      const { sql, graph } = servers;
      const source = sourceEntities(sql, entities, filter);
      const nodes = graphEntities(graph, entities, filter);
      const waiting = waitSources(servers, context);
      await requireLoaded(waiting);
      const database = await inspectSource(sql);
      await requireSameSource(graph, mapping, database, { claim: false });
      const caughtUp = async (timeoutMs: number) => {
        await waitForGraph(waiting, timeoutMs, stop.signal);
      };
      const maxWaitMs = options.maxWait * 1000;
      const runId = randomUUID();
      const { batchSize, deep, printDiffs } = options;
      const contents =
        deep || printDiffs
          ? { contents: entityContents(sql, graph, entities, { deep, diffs: printDiffs }) }
          : {};
      const throttle = throttled(options.throttle, waiting, log);
      const progress = scanProgress(process.stderr, await estimateRows(sql, [entities.mapping]));
      try {
        return await reconcile(
          {
            check: {
              source,
              graph: nodes,
              filtered: filter.types !== null || filter.changedAfterMicros !== null,
              batchSize,
              caughtUp,
              maxWaitMs,
              onProgress: progress.at,
              throttle,
              ...contents,
            },
            repair: {
              mapping,
              entities,
              sql,
              graph,
              source,
              nodes,
              caughtUp,
              maxWaitMs,
              runId,
              ...contents,
            },
            wholeGraph: options.wholeGraph
              ? {
                  mapping,
                  tables: mapping.tables.filter((table) => table !== entities.mapping),
                  sql,
                  graph,
                  snapshot: source.snapshot,
                  caughtUp,
                  maxWaitMs,
                  run: runId,
                  batchSize,
                  throttle,
                }
              : null,
            openSpool: async () => {
              const { systemIdentifier } = database;
              return spool.open({
                ...decisive(context, entities, filter, systemIdentifier),
                deep,
                printDiffs,
              });
            },
            countUnnamed: nodes.countUnnamed,
            onUnnamed: (count) => {
              log.warn({ nodes: count }, 'nodes whose id is no text are left out: no row can have it');
            },
            dryRun: options.dryRun,
            maxRepairs: options.maxRepairs,
            resultsFile: options.checkResultsFile,
            writeReport: (report) => file.write(report),
            emit,
          },
          stop.signal,
        );
      } finally {
        progress.end();
      }
    });
    conclude(outcome, options);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    process.exitCode = exitCodeOf(stop.signal.reason);
  } finally {
    stop.end();
    await lock.release();
  }
}

function throttled(limitMs: number | undefined, waiting: WaitSources, log: Log): Throttle | null {
  if (limitMs === undefined) return null;
  return throttle({
    limitMs,
    lagMs: async () => lagMs(await waiting.topicEnds(), await waiting.progress(), Date.now()),
    onPause: (lag) => {
      log.info({ lagMs: lag, limitMs }, 'the scan pauses: replication lags');
    },
    onResume: (pausedMs) => {
      log.info({ pausedMs }, 'the scan goes on');
    },
  });
}

/** What decides the findings of a check: those of another are none to go on from. */
function decisive(
  { mapping, neo4j }: GraphContext,
  { mapping: { table }, target }: EntityTable,
  { changedAfterMicros, types }: EntityFilter,
  systemIdentifier: string,
): Readonly<Record<string, unknown>> {
  return {
    systemIdentifier,
    slot: mapping.source.slot,
    table,
    graph: [neo4j.uri, neo4j.database, mapping.sink.namespace, target.label],
    changedAfter: changedAfterMicros?.toString() ?? null,
    types: types === null ? null : [...types].sort(),
  };
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

function exitCodeOf(signal: unknown): number {
  return signal === 'SIGTERM' ? TERMINATED : INTERRUPTED;
}

function stopSignal(): { readonly signal: AbortSignal; readonly end: () => void } {
  const controller = new AbortController();
  const stop = (name: NodeJS.Signals) => {
    // Again: whoever asks does not want to wait for anything.
    if (controller.signal.aborted) process.exit(exitCodeOf(name));
    controller.abort(name);
  };
  process.on('SIGTERM', stop).on('SIGINT', stop);
  return {
    signal: controller.signal,
    end: () => process.off('SIGTERM', stop).off('SIGINT', stop),
  };
}
