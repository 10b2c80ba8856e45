/** `graph rebuild`: options to a run, the proof to stdout, progress to stderr. */
import { entityTable } from '../core/entity-table.ts';
import { AppError, isAppError } from '../core/errors.ts';
import { formatLsn } from '../core/lsn.ts';
import { connectNeo4j, type Graph, type Neo4jOptions } from '../neo4j/client.ts';
import { homeOf } from '../neo4j/graph-id.ts';
import { rebuild, type Rebuilt } from '../pipelines/rebuild/rebuild.ts';
import { requireOther } from '../pipelines/rebuild/other-graph.ts';
import type { TargetState } from '../pipelines/rebuild/target.ts';
import { lockRun, REPAIR, type RunLock } from '../postgres/run-lock.ts';
import { enabledGraphContext, type GraphContext } from './graph-context.ts';
import { requireConfirmation } from './confirmation.ts';
import { waitSources, withServers } from './graph-reports.ts';
import { checkWhole } from './whole-check.ts';
import { phaseProgress } from './phase-progress.ts';
import { describeEmptying } from './rebuild-confirmation.ts';
import { exitCodeOf, stopSignal } from './stop-signal.ts';
import { targetUri } from './target-uri.ts';

export interface RebuildCommandOptions {
  readonly into?: string;
  readonly inPlace: boolean;
  readonly follow: boolean;
  readonly forceEmpty: boolean;
  readonly republish: boolean;
  readonly yes: boolean;
  readonly maxWait: number;
}

const REBUILD = 'graph rebuild';
const STREAM = ['DATABASE_URL', 'KAFKA_BROKERS'] as const;

/** Everything that can be wrong with the options is found before anything is read. */
export async function runRebuild(options: RebuildCommandOptions): Promise<void> {
  const { into, inPlace, forceEmpty, republish, follow } = options;
  if ((into === undefined) !== inPlace)
    throw new AppError(
      'USAGE',
      'Give --into URI to fill another graph, or --in-place to empty and rebuild this one.',
    );
  if (options.yes && !inPlace)
    throw new AppError(
      'USAGE',
      '--yes confirms --in-place; with --into, --force-empty says that things may be removed.',
    );
  const there = into === undefined ? null : targetUri(into);
  const live = enabledGraphContext('rebuild', inPlace ? [...STREAM, 'NEO4J_URI'] : STREAM);
  const neo4j: Neo4jOptions = there === null ? live.neo4j : { ...live.targetCredentials, ...there };
  const context: GraphContext = { ...live, neo4j };
  const { mapping, log } = context;
  // Without one nothing could be proved in the end.
  entityTable(mapping);

  const stop = stopSignal();
  const progress = phaseProgress(process.stderr);
  const locks: RunLock[] = [];
  const startedAt = performance.now();
  const ended = { proved: false };
  try {
    await withServers(context, async (servers) => {
      const { client, graph } = servers;
      const { serverId, database } = await homeOf(graph);
      const { slot } = mapping.source;
      const onLost = (error: AppError) => {
        // What follows the graph writes as any projector does.
        if (ended.proved) log.warn({ error }, 'another rebuild of this graph is no longer kept out');
        else stop.fail(error);
      };
      locks.push(await lockRun(live.databaseUrl, REBUILD, `${slot} ${serverId} ${database}`, onLost));
      // A graph in use is not repaired meanwhile.
      if (inPlace) locks.push(await lockRun(live.databaseUrl, REPAIR, slot, onLost, REBUILD));
      await withReplaced(live, options, async (replaced) => {
        if (replaced !== null) await requireOther(graph, replaced, mapping);
        await rebuild(
          {
            target: { graph, mapping, inPlace, forceEmpty },
            live: replaced,
            republish,
            follow,
            project: context,
            client,
            waiting: waitSources(servers, context),
            maxWaitMs: options.maxWait * 1000,
            check: (signal) => checkWhole(context, servers, options.maxWait * 1000, signal),
            async confirm({ state: { size }, records }) {
              process.stderr.write(describeEmptying({ ...neo4j, nodes: size.own, records }));
              if (options.yes) return;
              const question = `Type the name of the database, ${neo4j.database}, to go on: `;
              const asked = { question, word: neo4j.database };
              await requireConfirmation(asked, process.stdin, process.stderr, stop.signal);
            },
            onBegin: sayBeginning,
            onProgress: progress.at,
            onProving: progress.end,
            onRepaired(drift) {
              log.warn({ drift }, 'the graph differed from PostgreSQL; asked for again, checking again');
            },
            async onProved(result) {
              ended.proved = true;
              // From here on it may be repaired.
              for (const lock of locks.splice(1)) await lock.release();
              progress.end();
              report(result, neo4j, (performance.now() - startedAt) / 1000, follow);
            },
          },
          stop.signal,
        );
      });
    });
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    // A signal ends --follow as it ends a service.
    if (!ended.proved) process.exitCode = exitCodeOf(stop.signal.reason);
  } finally {
    progress.end();
    stop.end();
    for (const lock of locks) await lock.release();
  }
}

/**
 * Lends the graph that is in use, if it is another one, is named and can be read: it may be what is broken. Where things
 * may be removed it must be read, since only that tells that it is another one.
 */
async function withReplaced(
  { neo4j, log }: GraphContext,
  { inPlace, forceEmpty }: Pick<RebuildCommandOptions, 'inPlace' | 'forceEmpty'>,
  use: (graph: Graph | null) => Promise<void>,
): Promise<void> {
  if (inPlace || neo4j.uri === '') {
    await use(null);
    return;
  }
  const graph = connectNeo4j(neo4j, log);
  try {
    const reachable = await homeOf(graph).catch((error: unknown) => {
      if (!isAppError(error)) throw error;
      if (forceEmpty)
        throw new AppError(
          'LIVE_UNKNOWN',
          `${error.message} So nothing tells whether --into names the graph in use (NEO4J_URI), and --force-empty is refused.`,
          { cause: error },
        );
      log.warn({ error }, 'the graph in use cannot be read: the new one is built without a look at it');
      return null;
    });
    await use(reachable === null ? null : graph);
  } finally {
    await graph.close();
  }
}

function sayBeginning({ next, begun, size }: TargetState): void {
  if (begun !== null && next === 'go on')
    process.stderr.write(`Going on with the rebuild that was begun at ${begun.startedAt}.\n`);
  const others = size.nodes - size.own;
  if (next === 'empty' && others > 1)
    process.stderr.write(`${others} nodes are none of this mapping's and stay.\n`);
}

function report(
  { position, lsn, epoch, compared, repaired }: Rebuilt,
  { uri, database }: Neo4jOptions,
  seconds: number,
  follows: boolean,
): void {
  const proof = {
    event: 'proved',
    graph: `${uri}/${database}`,
    position,
    epoch,
    lsn: formatLsn(lsn),
    compared,
    repaired,
  };
  process.stdout.write(`${JSON.stringify({ ...proof, seconds: Number(seconds.toFixed(1)) })}\n`);
  process.stderr.write(
    `The graph is proved up to ${formatLsn(lsn)}${follows ? ', and is kept current until this is stopped' : ''}. ` +
      `To use it, start graph project with NEO4J_URI=${uri} NEO4J_DATABASE=${database}.\n`,
  );
}
