/**
 * A run of sync-data that compares everything, and what it proves: if nothing is left that differs or could not be
 * judged, the graph holds all that was committed before the run began, and nothing else.
 */
import { formatLsn } from '../core/lsn.ts';
import { position } from '../core/position.ts';
import { writeControl } from '../kafka/control.ts';
import { graphUuid } from '../neo4j/graph-id.ts';
import { markProof } from '../neo4j/proof-mark.ts';
import { tableDigest } from '../neo4j/rebuild-mark.ts';
import type { Check } from '../pipelines/prove.ts';
import type { Outcome } from '../pipelines/reconcile/reconcile.ts';
import { requireOwnGraph } from '../pipelines/same-source.ts';
import { waitForGraph } from '../pipelines/wait.ts';
import type { GraphContext } from './graph-context.ts';
import { controlOf, type Servers, waitSources } from './graph-reports.ts';
import { stillOpen } from './sync-data-outcome.ts';
import { compareAndRepair, type SyncRun } from './sync-data-run.ts';

export interface Proved extends Pick<Check, 'open' | 'through' | 'unproved'> {
  readonly outcome: Outcome;
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

/**
 * `run` compares all of everything, contents too. What it proves is recorded in the control topic, and in the graph: one
 * that is put back to an earlier state has its earlier mark, which is not the control topic's any more.
 */
export async function recordProof(
  context: GraphContext,
  servers: Servers,
  run: SyncRun,
  signal: AbortSignal,
): Promise<Proved> {
  const { mapping, log } = context;
  const { client, graph } = servers;
  await requireOwnGraph(servers, mapping, signal);
  const before = await identities(context, servers);
  const at = new Date().toISOString();
  const lsn = await waitForGraph(waitSources(servers, context), run.maxWaitMs, signal);
  const outcome = await compareAndRepair(context, servers, run, signal);
  const open = stillOpen(outcome, run);
  const { epoch, uuid } = await identities(context, servers);
  const unproved = (why: string): Proved => ({ outcome, open, through: null, unproved: why });
  if (open > 0) return unproved(`${open} entities or other keys differ still, or could not be judged`);
  // What was compared is not what the graph is of now.
  if (epoch === null || epoch !== before.epoch) return unproved('another epoch began meanwhile');
  if (uuid === null || uuid !== before.uuid) return unproved('the graph became another one meanwhile');

  await markProof(graph, mapping, position(epoch, lsn, lsn));
  const verified = mapping.tables.map((of) => {
    const proved = { graph: uuid, epoch, lsn: formatLsn(lsn), mapping: tableDigest(mapping, of), at };
    return { kind: 'verified', table: of.table, ...proved } as const;
  });
  await writeControl(client, mapping.controlTopic, log, verified);
  return { outcome, open, through: { lsn, epoch }, unproved: null };
}

async function identities(
  { mapping }: GraphContext,
  { client, graph }: Servers,
): Promise<{ readonly epoch: number | null; readonly uuid: string | null }> {
  const control = await controlOf(client, mapping);
  return { epoch: control?.source?.epoch ?? null, uuid: await graphUuid(graph, mapping) };
}
