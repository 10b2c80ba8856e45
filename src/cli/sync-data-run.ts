/** One run of sync-data on databases that are open: what is compared with what, and how it is told. */
import { randomUUID } from 'node:crypto';
import type { CheckReport } from '../core/check-report.ts';
import type { EntityFilter, EntityTable } from '../core/entity-table.ts';
import { graphEntities } from '../neo4j/entities.ts';
import type { SpoolFile } from '../ops/spool-file.ts';
import { entityContents } from '../pipelines/reconcile/deep.ts';
import { type Emit, type Outcome, reconcile } from '../pipelines/reconcile/reconcile.ts';
import { requireSameSource } from '../pipelines/same-source.ts';
import { sourceEntities } from '../postgres/entities.ts';
import { inspectSource, requirePrimary, requireUtf8 } from '../postgres/source.ts';
import { estimateRows } from '../postgres/tables.ts';
import type { GraphContext } from './graph-context.ts';
import type { Databases } from './graph-reports.ts';
import { phaseProgress } from './phase-progress.ts';
import type { BeginWay } from './sync-data-ways.ts';

export interface SyncRun {
  readonly entities: EntityTable;
  readonly filter: EntityFilter;
  readonly begin: BeginWay;
  readonly direct: boolean;
  readonly batchSize: number;
  readonly deep: boolean;
  readonly printDiffs: boolean;
  readonly wholeGraph: boolean;
  readonly dryRun: boolean;
  readonly maxRepairs: number;
  readonly maxWaitMs: number;
  /** Lag at which the scan pauses; null: it never does. */
  readonly throttleMs: number | null;
  readonly fullSpeed: boolean;
  readonly resultsFile: string;
  readonly writeReport: (report: CheckReport) => Promise<void>;
  readonly spool: SpoolFile;
  readonly emit: Emit;
}

/** Nobody else may be at it: see `lockRun`. */
export async function compareAndRepair(
  context: GraphContext,
  databases: Databases,
  run: SyncRun,
  signal: AbortSignal,
): Promise<Outcome> {
  const { mapping, log } = context;
  const { sql, graph } = databases;
  const { entities, filter, batchSize, deep, printDiffs, direct, dryRun, maxRepairs, resultsFile } = run;
  const source = sourceEntities(sql, entities, filter);
  const nodes = graphEntities(graph, entities, filter);
  const database = await inspectSource(sql);
  requireUtf8(database);
  // What a standby has can be reported, but it cannot be marked how far the stream is.
  if (!dryRun || !direct) requirePrimary(database);
  await requireSameSource(graph, mapping, database, { claim: false });
  const runId = randomUUID();
  const { maxWaitMs, throttleMs, fullSpeed } = run;
  const way = await run.begin({
    runId,
    maxWaitMs,
    throttleMs,
    fullSpeed,
    repairs: !dryRun,
    signal,
  });
  const contents =
    deep || printDiffs ? { contents: entityContents(sql, graph, entities, { deep, diffs: printDiffs }) } : {};
  const others = mapping.tables.filter((table) => table !== entities.mapping);
  const filtered = filter.types !== null || filter.changedAfterMicros !== null;
  const progress = phaseProgress(process.stderr);
  try {
    return await reconcile(
      {
        check: {
          source,
          graph: nodes,
          filtered,
          batchSize,
          ...way.confirmation,
          ...contents,
        },
        repair: { mapping, entities, sql, graph, source, nodes, ...way.repair, ...contents },
        expected: {
          entities: filtered ? null : await estimateRows(sql, [entities.mapping]),
          // Each is read twice, as rows and as keys in the graph.
          others: run.wholeGraph ? 2 * (await estimateRows(sql, others)) : null,
        },
        onPhase: progress.at,
        requireStill: way.requireStill,
        refused: way.refused,
        wholeGraph: run.wholeGraph
          ? {
              mapping,
              tables: others,
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
          return run.spool.open(
            { ...decisive(context, entities, filter, systemIdentifier), deep, printDiffs, direct },
            way.still,
          );
        },
        countUnnamed: nodes.countUnnamed,
        onUnnamed: (count) => {
          log.warn({ nodes: count }, 'nodes whose id is no text are left out: no row can have it');
        },
        dryRun,
        maxRepairs,
        resultsFile,
        writeReport: run.writeReport,
        emit(logger, event, fields) {
          // Both may go to one terminal.
          progress.clear();
          run.emit(logger, event, fields);
        },
      },
      signal,
    );
  } finally {
    progress.end();
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
