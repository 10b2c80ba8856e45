/**
 * A run of sync-data that compares everything, and what it proves: if nothing is left that differs or could not be
 * judged, the graph holds all that was committed before the run began, and nothing else.
 */
import { formatLsn, type Lsn } from '../core/lsn.ts';
import { writeControl } from '../kafka/control.ts';
import { graphUuid } from '../neo4j/graph-id.ts';
import type { Outcome } from '../pipelines/reconcile/reconcile.ts';
import { waitForGraph } from '../pipelines/wait.ts';
import type { GraphContext } from './graph-context.ts';
import { controlOf, type Servers, waitSources } from './graph-reports.ts';
import { driftOf, stillOpen } from './sync-data-outcome.ts';
import { compareAndRepair, type SyncRun } from './sync-data-run.ts';

export interface Proved {
  readonly outcome: Outcome;
  /** Recorded in the control topic; null: nothing is proved. */
  readonly through: { readonly lsn: Lsn; readonly epoch: number } | null;
}

/** Settings of a run that can prove something. */
export const EVERYTHING = {
  filter: { types: null, changedAfterMicros: null },
  direct: false,
  batchSize: 1000,
  deep: true,
  printDiffs: false,
  wholeGraph: true,
  dryRun: false,
  maxRepairs: Infinity,
  maxWaitMs: 60_000,
  throttleMs: null,
  fullSpeed: true,
} as const satisfies Partial<SyncRun>;

/** `run` compares all of everything, contents too. */
export async function prove(
  context: GraphContext,
  servers: Servers,
  run: SyncRun,
  signal: AbortSignal,
): Promise<Proved> {
  const { mapping, log } = context;
  const { client, graph } = servers;
  const before = await controlOf(client, mapping);
  const lsn = await waitForGraph(waitSources(servers, context), run.maxWaitMs, signal);
  const outcome = await compareAndRepair(context, servers, run, signal);
  const open = stillOpen(outcome) + outcome.unnamed + (run.dryRun ? driftOf(outcome) : 0);
  const after = await controlOf(client, mapping);
  const epoch = after?.source?.epoch;
  const uuid = await graphUuid(graph, mapping);
  // Another epoch began meanwhile: what was compared is not what the graph is of now.
  if (open > 0 || epoch === undefined || epoch !== before?.source?.epoch || uuid === null)
    return { outcome, through: null };

  const at = new Date().toISOString();
  const verified = mapping.tables.map(({ table }) => {
    return { kind: 'verified', table, graph: uuid, epoch, lsn: formatLsn(lsn), at } as const;
  });
  await writeControl(client, mapping.controlTopic, log, verified);
  return { outcome, through: { lsn, epoch } };
}
