/** The two ways of sync-data to know that a difference is one, and to mend it: beside the stream, or without it. */
import { createDirectWriter } from '../neo4j/direct-writer.ts';
import { readProgress } from '../neo4j/progress.ts';
import { ensureSchema, requireUnique } from '../neo4j/schema.ts';
import type { CheckOptions } from '../pipelines/reconcile/check.ts';
import { directly } from '../pipelines/reconcile/direct.ts';
import { byRequest } from '../pipelines/reconcile/ask.ts';
import type { ReconcileOptions } from '../pipelines/reconcile/reconcile.ts';
import type { RepairContext } from '../pipelines/reconcile/repair.ts';
import { stillness } from '../pipelines/reconcile/stillness.ts';
import { AHEAD_AT_FULL_SPEED, pace } from '../pipelines/reconcile/pace.ts';
import { type Throttle, throttle, type ThrottleOptions } from '../pipelines/reconcile/throttle.ts';
import { requireAtWork } from '../pipelines/at-work.ts';
import { replicationLag } from '../pipelines/lag.ts';
import { waitForGraph } from '../pipelines/wait.ts';
import { createRowReader } from '../postgres/rows.ts';
import { inspectSlot } from '../postgres/slot.ts';
import type { Log } from '../runtime/log.ts';
import type { GraphContext } from './graph-context.ts';
import { type Databases, type Servers, waitSources } from './graph-reports.ts';

export interface Way {
  readonly confirmation: Pick<CheckOptions, 'ahead' | 'caughtUp' | 'maxWaitMs' | 'readTwice' | 'throttle'>;
  readonly repair: Pick<RepairContext, 'caughtUp' | 'maxWaitMs' | 'mend' | 'stream'>;
  readonly requireStill: ReconcileOptions['requireStill'];
  /** Rows that could not be written, each once. */
  readonly refused: ReadonlySet<string>;
  /** What must not move, as text; null: nothing. */
  readonly still: string | null;
}

export interface WayOptions {
  readonly runId: string;
  readonly maxWaitMs: number;
  readonly throttleMs: number | null;
  /** Without a rest between pages, whatever the stream does. */
  readonly fullSpeed: boolean;
  readonly repairs: boolean;
  readonly signal: AbortSignal;
}

export type BeginWay = (options: WayOptions) => Promise<Way>;

export function besideStream(servers: Servers, context: GraphContext): BeginWay {
  const waiting = waitSources(servers, context);
  return async ({ runId, maxWaitMs, throttleMs, fullSpeed, signal }) => {
    await requireAtWork({ waiting, ...servers }, maxWaitMs, signal);
    const caughtUp = async (timeoutMs: number) => {
      await waitForGraph(waiting, timeoutMs, signal);
    };
    const mark = async () => (await waiting.progress()).map(({ next }) => next).join();
    const onSlow = () => {
      context.log.info('changes are being applied: the scan rests after each page, unless --full-speed');
    };
    const paces = fullSpeed ? null : pace({ mark, onSlow });
    const lagMs = replicationLag(waiting, signal);
    return {
      confirmation: {
        ahead: () => paces?.ahead() ?? AHEAD_AT_FULL_SPEED,
        caughtUp,
        maxWaitMs,
        readTwice: false,
        throttle: oneAfterTheOther([
          ...(paces === null ? [] : [paces.rest]),
          ...(throttleMs === null
            ? []
            : [throttled({ limitMs: throttleMs, patienceMs: maxWaitMs, lagMs, mark }, context.log)]),
        ]),
      },
      repair: {
        caughtUp,
        maxWaitMs,
        mend: byRequest(servers.sql, runId, () => caughtUp(maxWaitMs)),
        stream: { stopped: false },
      },
      requireStill: null,
      refused: new Set(),
      still: null,
    };
  };
}

export function withoutStream({ sql, graph }: Databases, { mapping, log }: GraphContext): BeginWay {
  return async ({ runId, maxWaitMs, repairs, signal }) => {
    const still = await stillness(() => readProgress(graph, mapping));
    // Two nodes of one id would be compared as one.
    await (repairs ? ensureSchema(graph, mapping, signal) : requireUnique(graph, mapping));
    const slot = repairs ? await inspectSlot(sql, mapping.source.slot, signal) : null;
    if (repairs && slot === null)
      process.stderr.write(
        `There is no replication slot ${mapping.source.slot}: the graph is repaired, nothing is asked of the stream.\n`,
      );
    const refused = new Set<string>();
    const mend = directly({
      rows: createRowReader(sql),
      writer: createDirectWriter(graph, mapping),
      requireStill: still.require,
      ask: slot === null ? null : byRequest(sql, runId, null),
      onRefused({ table }, key, error) {
        // A relation is written again with either of its ends.
        const row = `${table} ${key}`;
        if (refused.has(row)) return;
        refused.add(row);
        log.error({ table, error }, 'a row cannot be written to the graph');
      },
    });
    return {
      confirmation: {
        ahead: () => AHEAD_AT_FULL_SPEED,
        caughtUp: () => still.watch(signal),
        maxWaitMs,
        readTwice: true,
        throttle: null,
      },
      repair: {
        // What is written is there: one look is enough.
        caughtUp: still.require,
        maxWaitMs: 0,
        mend,
        stream: { stopped: false },
      },
      requireStill: still.require,
      refused,
      still: still.at,
    };
  };
}

function oneAfterTheOther(throttles: readonly Throttle[]): Throttle {
  return async (signal) => {
    for (const throttle of throttles) await throttle(signal);
  };
}

function throttled(options: Omit<ThrottleOptions, 'onPause' | 'onResume'>, log: Log): Throttle {
  const { limitMs } = options;
  return throttle({
    ...options,
    onPause: (lag) => {
      log.info({ lagMs: lag, limitMs }, 'the scan pauses: replication lags');
    },
    onResume: (pausedMs) => {
      log.info({ pausedMs }, 'the scan goes on');
    },
  });
}
