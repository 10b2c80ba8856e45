/** `graph sync-data`: options to a run, events to stdout, progress to stderr, the outcome to the exit code. */
import { randomUUID } from 'node:crypto';
import { AppError } from '../core/errors.ts';
import { type EntityFilter, type EntityTable, entityTable } from '../core/entity-table.ts';
import { instantOf } from '../core/instants.ts';
import { graphEntities } from '../neo4j/entities.ts';
import { reportFile } from '../ops/report-file.ts';
import { spoolFile } from '../ops/spool-file.ts';
import { type Emit, reconcile } from '../pipelines/reconcile/reconcile.ts';
import { entityContents } from '../pipelines/reconcile/deep.ts';
import { requireSameSource } from '../pipelines/same-source.ts';
import { sourceEntities } from '../postgres/entities.ts';
import { lockRun } from '../postgres/run-lock.ts';
import { inspectSource } from '../postgres/source.ts';
import { estimateRows } from '../postgres/tables.ts';
import { typesOf } from './entity-types.ts';
import { enabledGraphContext, type GraphContext } from './graph-context.ts';
import { SERVERS, withDatabases } from './graph-reports.ts';
import { scanProgress } from './scan-progress.ts';
import { conclude } from './sync-data-outcome.ts';
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
}

const DATABASES = ['DATABASE_URL', 'NEO4J_URI'] as const;
const INTERRUPTED = 130;
const TERMINATED = 143;
/** For what was begun to end, after a signal. */
const GRACE_MS = 5000;

/** What follows an event. */
const PHASES = [
  ['Starting', 'checking'],
  ['Deleting', 'repairing'],
] as const;

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

  const stop = stopSignal();
  const lock = await lockRun(databaseUrl, 'graph sync-data', mapping.source.slot);
  try {
    const outcome = await withDatabases(context, async (databases) => {
      const { sql, graph } = databases;
      const source = sourceEntities(sql, entities, filter);
      const nodes = graphEntities(graph, entities, filter);
      const database = await inspectSource(sql);
      await requireSameSource(graph, mapping, database, { claim: false });
      const runId = randomUUID();
      const begin = options.direct ? withoutStream : besideStream;
      const way = await begin(databases, context, {
        runId,
        maxWaitMs: options.maxWait * 1000,
        throttleMs: options.throttle ?? null,
        repairs: !options.dryRun,
        signal: stop.signal,
      });
      const { batchSize, deep, printDiffs, direct } = options;
      const contents =
        deep || printDiffs
          ? { contents: entityContents(sql, graph, entities, { deep, diffs: printDiffs }) }
          : {};
      const progress = scanProgress(process.stderr, await estimateRows(sql, [entities.mapping]));
      try {
        return await reconcile(
          {
            check: {
              source,
              graph: nodes,
              filtered: filter.types !== null || filter.changedAfterMicros !== null,
              batchSize,
              onProgress: progress.at,
              ...way.confirmation,
              ...contents,
            },
            repair: {
              mapping,
              entities,
              sql,
              graph,
              source,
              nodes,
              ...way.repair,
              ...contents,
            },
            requireStill: way.requireStill,
            wholeGraph: options.wholeGraph
              ? {
                  mapping,
                  tables: mapping.tables.filter((table) => table !== entities.mapping),
                  sql,
                  graph,
                  snapshot: source.snapshot,
                  run: runId,
                  batchSize,
                  ...way.confirmation,
                }
              : null,
            openSpool: async () => {
              const { systemIdentifier } = database;
              return spool.open({
                ...decisive(context, entities, filter, systemIdentifier),
                deep,
                printDiffs,
                direct,
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
            emit(logger, event, fields) {
              emit(logger, event, fields);
              progress.phase(PHASES.find(([of]) => event.startsWith(of))?.[1] ?? 'reporting');
            },
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
    const leave = () => process.exit(exitCodeOf(name));
    // Again: whoever asks does not want to wait for anything. What a server was asked may take long.
    if (controller.signal.aborted) leave();
    controller.abort(name);
    setTimeout(leave, GRACE_MS).unref();
  };
  process.on('SIGTERM', stop).on('SIGINT', stop);
  return {
    signal: controller.signal,
    end: () => process.off('SIGTERM', stop).off('SIGINT', stop),
  };
}
