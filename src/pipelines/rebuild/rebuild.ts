/**
 * `graph rebuild`: a graph is built from the topics, beside the one that is in use or in its place:
 *
 *   history complete? ─▶ target empty, or emptied ─▶ schema ─▶ (all rows asked for again) ─▶ build ─▶ catch up ─▶ prove
 *
 * Guarantee: nothing is removed before the history is known to be whole or every row is to be published again, nor while
 * a projector is at work on the graph. From the first removal until the proof the graph says itself that it is being
 * rebuilt. Progress is the graph's own (I8), so that a projector pointed at it goes on where the rebuild has ended.
 * On failure, and after a crash anywhere: the same call goes on where the graph is.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { AppError } from '../../core/errors.ts';
import { type Position, position } from '../../core/position.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import { planStatements } from '../../neo4j/plans.ts';
import { type Beginning, ensureProgress, readProgress } from '../../neo4j/progress.ts';
import { forbidUnseen } from '../../neo4j/purge.ts';
import { markAsked, markProved } from '../../neo4j/rebuild-mark.ts';
import { flushedLsn } from '../../postgres/messages.ts';
import { inspectSource } from '../../postgres/source.ts';
import { estimateRows } from '../../postgres/tables.ts';
import type { Graph } from '../../neo4j/client.ts';
import { ensureSchema } from '../../neo4j/schema.ts';
import { backfill } from '../backfill.ts';
import type { ProjectOptions } from '../project/project.ts';
import { requireLoaded, waitForAnswers, type WaitSources, waitUntilPublished } from '../wait.ts';
import { applied, build, type BuildOptions } from './build.ts';
import { type History, readHistory } from './history.ts';
import { type Check, type Proof, proveByChecks } from '../prove.ts';
import { inspectTarget, makeReady, requireUnused, type Target, type TargetState } from './target.ts';

export type Phase = 'emptying' | 'asking for all rows' | 'building' | 'catching up';

export interface RebuildOptions {
  readonly target: Target;
  /** The graph that is in use, if it is another one and can be read. */
  readonly live: Graph | null;
  readonly republish: boolean;
  /** Of the target. */
  readonly project: ProjectOptions;
  readonly client: KafkaClient;
  /** Of the target. */
  readonly waiting: WaitSources;
  /** For the publisher, and for the last step to the end of the stream. */
  readonly maxWaitMs: number;
  readonly check: (signal: AbortSignal) => Promise<Check>;
  /** Asked before a graph in use is emptied; rejects if it is not to be. */
  readonly confirm: (of: { readonly state: TargetState; readonly records: number }) => Promise<void>;
  readonly onBegin: (state: TargetState) => void;
  /** `total` null: how much there is to do is not known. */
  readonly onProgress: (phase: Phase, done: number, total: number | null) => void;
  /** From here on `check` says how far it is. */
  readonly onProving: () => void;
  readonly onRepaired: (drift: number) => void;
  readonly onProved: (result: Rebuilt) => Promise<void>;
  /** Stay, and keep the graph current until the signal. */
  readonly follow: boolean;
}

export interface Rebuilt extends Proof {
  /** Up to which the graph is proved. */
  readonly position: Position;
}

const SOON_MS = 2_000;

/** Throws before anything is touched: LOADING, TIMED_OUT, HISTORY_INCOMPLETE, KAFKA_TOPIC, TARGET_NOT_EMPTY, GRAPH_IN_USE. */
export async function rebuild(options: RebuildOptions, signal: AbortSignal): Promise<void> {
  const { target, project, client, waiting, maxWaitMs } = options;
  const { graph, mapping } = target;
  const { sql } = waiting;
  const source = await inspectSource(sql, signal);
  await requireLoaded(waiting, signal);
  const replaced = target.inPlace ? graph : options.live;
  const history = await readHistory(
    {
      mapping,
      sql,
      client,
      published: async () => {
        await waitUntilPublished(waiting, maxWaitMs, signal);
      },
      progress: replaced === null ? [] : await readProgress(replaced, mapping),
    },
    signal,
  );
  const state = await inspectTarget(target, source, history.generations);
  const republish = options.republish || state.begun?.republish === true;
  if (history.gaps.length > 0 && !republish) throw incomplete(history);
  if (state.next === 'empty') {
    await requireUnused(client, target);
    if (target.inPlace && state.begun?.state !== 'emptying') {
      await options.confirm({ state, records: await recordsToCome(history, options, republish) });
      await requireUnused(client, target);
    }
  }
  options.onBegin(state);

  const onRemoved = (total: number) => {
    options.onProgress('emptying', total, state.size.own);
  };
  await makeReady(target, state, { source, republish, onRemoved }, signal);
  await ensureSchema(graph, mapping, signal);
  if (republish && (await readProgress(graph, mapping)).length === 0) {
    const through = await flushedLsn(sql, signal);
    const tables = new Set(mapping.tables.map(({ table }) => table));
    await forbidUnseen(graph, mapping, tables, position(history.epoch, through, through));
  }
  await ensureProgress(graph, mapping, history.generations, republish ? endsOf(history) : undefined);
  if (republish) {
    await askForAll(options, signal);
    await markAsked(graph, mapping);
  }

  const building: BuildOptions = {
    project,
    ranges: await waiting.topicEnds(),
    progress: waiting.progress,
    plan: (tables, stop) => planStatements(graph, tables, stop, { filling: true }),
    onProgress(done, total) {
      options.onProgress('building', done, total);
    },
  };
  await build(building, (stop) => finish(options, building, stop, signal), signal);
}

/** While the projector of the target goes on. */
async function finish(
  options: RebuildOptions,
  building: BuildOptions,
  signal: AbortSignal,
  asked: AbortSignal,
): Promise<void> {
  const { target, waiting, maxWaitMs } = options;
  await catchUp(options, building, signal);
  await waitForAnswers(waiting, maxWaitMs, signal);
  options.onProving();
  const proof = await proveByChecks(() => options.check(signal), options.onRepaired);
  const through = position(proof.epoch, proof.lsn, proof.lsn);
  await markProved(target.graph, target.mapping);
  await options.onProved({ ...proof, position: through });
  if (options.follow) await untilStopped(signal, asked);
}

/** Up to where the topics end now, and again, until that is soon done. */
async function catchUp(options: RebuildOptions, building: BuildOptions, signal: AbortSignal): Promise<void> {
  for (let tookMs = Infinity; tookMs > SOON_MS;) {
    const startedAt = performance.now();
    const ranges = await options.waiting.topicEnds();
    const onProgress: BuildOptions['onProgress'] = (done, total) => {
      options.onProgress('catching up', done, total);
    };
    await applied(ranges, { ...building, ranges, onProgress }, signal);
    tookMs = performance.now() - startedAt;
  }
}

async function askForAll(
  { target, waiting, onProgress }: RebuildOptions,
  signal: AbortSignal,
): Promise<void> {
  const { tables, source } = target.mapping;
  const rows = new Map<string, number>();
  await backfill(
    {
      sql: waiting.sql,
      slot: source.slot,
      wanted: tables.map((table) => ({ table, which: 'all' })),
      runId: randomUUID(),
      onProgress(table, asked) {
        rows.set(table, asked);
        onProgress(
          'asking for all rows',
          [...rows.values()].reduce((sum, n) => sum + n, 0),
          null,
        );
      },
    },
    signal,
  );
}

/** Where every row is published again, what is in the topics already is of no use. */
function endsOf({ ranges, epoch, session }: History): (topic: string, partition: number) => Beginning {
  const ends = new Map(ranges.map(({ topic, partition, end }) => [`${topic}-${partition}`, end]));
  return (topic, partition) => ({ next: ends.get(`${topic}-${partition}`) ?? 0n, epoch, session });
}

/** About how many. */
async function recordsToCome(
  { ranges }: History,
  { waiting, target }: RebuildOptions,
  republish: boolean,
): Promise<number> {
  if (republish) return estimateRows(waiting.sql, target.mapping.tables);
  return ranges.reduce((sum, { low, end }) => sum + Number(end - low), 0);
}

/** Rejects if something else ends it first. */
async function untilStopped(signal: AbortSignal, asked: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
  if (!asked.aborted) throw signal.reason;
}

function incomplete({ gaps }: History): AppError {
  return new AppError('HISTORY_INCOMPLETE', `A graph cannot be built from the topics: ${gaps.join('; ')}.`);
}
