/**
 * `graph replay`: applies topics again over the live graph, beside the stream.
 *
 *   request ─▶ wait until the graph has all that was committed before ─▶ stretches: from where it was asked for up to where
 *     the stream is ─▶ progress nodes of its own ─▶ table by table, partitions side by side: read ─▶ apply ─▶ they go
 *
 * Guarantee: what it writes is written by the projector's own pipeline, under the same fences (I7): a record is applied
 * again where nothing newer stands, and whatever is deleted stays deleted at every moment, by its tombstone, its table's
 * floor, or a request for its key where tombstones are purged. It applies nothing that the stream has not applied before,
 * and so anticipates nothing; the stream's progress, group and fence are not touched (I8). That the graph has caught up
 * first means that whatever a repair without the stream has written has its answer, which is newer.
 * On failure: what may pass is tried again for as long as it takes. Ended in any way, another run with the same request
 * goes on where its progress is, to the same ends. A second one at once takes its progress over, and this one ends.
 */
import { createHash } from 'node:crypto';
import { AppError } from '../../core/errors.ts';
import type { Mapping } from '../../core/mapping.ts';
import { INITIAL_READER, type ReaderState } from '../../core/partition-reader.ts';
import { describeRequest, type ReplayRequest, type Stretch } from '../../core/replay.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import { openStretchReader } from '../../kafka/stretch.ts';
import type { Graph } from '../../neo4j/client.ts';
import { planStatements } from '../../neo4j/plans.ts';
import { createRehearsal } from '../../neo4j/rehearsal.ts';
import { beginReplay, endReplay, readReplay } from '../../neo4j/replay-progress.ts';
import { ensureSchema } from '../../neo4j/schema.ts';
import { createWriter } from '../../neo4j/writer.ts';
import type { Sql } from '../../postgres/client.ts';
import type { Log } from '../../runtime/log.ts';
import { keepRunning } from '../../runtime/retry.ts';
import { openAside } from '../project/aside.ts';
import { type PartitionContext, runPartition } from '../project/partition.ts';
import { stretchesNow } from './stretches.ts';
import type { Tally } from './tally.ts';

export interface ReplayContext {
  readonly mapping: Mapping;
  readonly sql: Sql;
  readonly client: KafkaClient;
  readonly graph: Graph;
  readonly log: Log;
}

export interface ReplayRun {
  readonly request: ReplayRequest;
  readonly owner: string;
  /** Gives an unfinished replay up, whichever it is. */
  readonly restart: boolean;
  /** Resolves once the graph has everything that was committed before the call. */
  readonly caughtUp: () => Promise<void>;
  readonly tally: Tally;
}

export async function replay(context: ReplayContext, run: ReplayRun, signal: AbortSignal): Promise<void> {
  const { mapping, graph, log } = context;
  const { request, owner, tally } = run;
  await stretchesNow(context, request, signal);
  await run.caughtUp();
  await ensureSchema(graph, mapping, signal);
  await planStatements(graph, mapping, signal);
  const stretches = await stretchesNow(context, request, signal);
  const id = identityOf(request, stretches, mapping);
  const { resumed, progress } = await beginReplay(
    graph,
    mapping,
    { owner, restart: run.restart, id, what: describeRequest(request) },
    stretches,
  );
  log.info({ owner, resumed, partitions: progress.length }, 'replaying');
  tally.begin(progress);
  await keepRunning(() => session(context, run, signal), {
    signal,
    onRetry(error, failures, delayMs) {
      log.warn({ error, failures, delayMs }, 'the replay lost its session; beginning another');
    },
  });
  signal.throwIfAborted();
  await endReplay(graph, mapping, owner);
}

/**
 * From where the replay's progress is, to its end. Progress that is not where it was left may be our own, of a commit whose
 * answer was lost: the next session tells.
 */
async function session(context: ReplayContext, run: ReplayRun, signal: AbortSignal): Promise<void> {
  const { mapping, graph, log } = context;
  const { request, owner, tally } = run;
  const progress = await readReplay(graph, mapping);
  if (progress.length === 0 || progress.some((row) => row.owner !== owner)) throw takenOver();
  const writer = createWriter(graph, mapping, { owner, scope: 'replay' });
  const aside = await openAside({ ...context, runId: `replay-${owner}` }, signal);
  try {
    for (const table of request.tables) {
      const rows = progress.filter(({ topic }) => topic === table.topic);
      await passOver(
        context,
        rows.map((row) => ({ ...row, start: row.next, reader: row })),
        (partition) => ({
          ...{ table, partition, writer, log },
          ...aside.of(table, partition),
          ...tally.of(table, partition),
        }),
        signal,
      );
    }
  } finally {
    await aside.close();
  }
}

/** As a replay would begin now, but that nothing is written and nothing asked for: see `createRehearsal`. */
export async function rehearse(
  context: ReplayContext,
  { request, tally }: Pick<ReplayRun, 'request' | 'tally'>,
  signal: AbortSignal,
): Promise<void> {
  const { mapping, graph, log } = context;
  const stretches = await stretchesNow(context, request, signal);
  tally.begin(stretches.map((stretch) => ({ ...stretch, next: stretch.start })));
  const writer = createRehearsal(graph, mapping, tally.add);
  const nowhere = {
    deadLetter: () => Promise.resolve(),
    requestRepublish: () => Promise.resolve(),
    warnUnlisted: () => undefined,
  };
  for (const table of request.tables) {
    await passOver(
      context,
      stretches
        .filter(({ topic }) => topic === table.topic)
        .map((stretch) => ({ ...stretch, reader: INITIAL_READER })),
      (partition) => ({ table, partition, writer, log, ...nowhere, ...tally.of(table, partition) }),
      signal,
    );
  }
}

/** Partitions of one topic, side by side; the first failure ends all of them. */
async function passOver(
  { client, mapping }: ReplayContext,
  stretches: readonly (Stretch & { readonly reader: ReaderState })[],
  contextOf: (partition: number) => PartitionContext,
  signal: AbortSignal,
): Promise<void> {
  const open = stretches.filter(({ start, end }) => start < end);
  const [first] = open;
  if (first === undefined) return;
  const reader = await openStretchReader(client, [first.topic]);
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  try {
    const passes = open.map(async (stretch) => {
      const lane = reader.read(stretch, mapping.sink.batch, either);
      const from = { next: stretch.start, reader: stretch.reader };
      await runPartition(lane, from, contextOf(stretch.partition), either).catch((error: unknown) => {
        failed.abort(error);
        throw error;
      });
    });
    await Promise.allSettled(passes);
    if (failed.signal.aborted) throw failed.signal.reason;
  } finally {
    await reader.close();
  }
}

/** What decides what a replay does: what is asked for, of which topics, and how records become mutations. */
function identityOf(
  { from, tables }: ReplayRequest,
  stretches: readonly { readonly topic: string; readonly generation: string }[],
  { sink }: Mapping,
): string {
  const topics = stretches.map(({ topic, generation }) => `${topic} ${generation}`);
  const decisive = { from, tables, topics: [...new Set(topics)].sort(), namespace: sink.namespace };
  const content = JSON.stringify(decisive, (_, value: unknown) => {
    if (value instanceof Map) return [...value];
    return typeof value === 'bigint' ? value.toString() : value;
  });
  return createHash('sha256').update(content).digest('hex').slice(0, 16);
}

function takenOver(): AppError {
  return new AppError('ALREADY_RUNNING', 'Another replay has taken this one over, or the graph was emptied.');
}
