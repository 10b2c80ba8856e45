/**
 * Fills a graph from the topics by a projector of its own, which has all of their partitions from the start:
 *
 *   nodes ─▶ all node topics up to their ends ─▶ relationships, and nodes that come, for as long as `then` takes
 *
 * Relationships wait, so that they find their ends; the order decides nothing but speed (I7), and another projector of the
 * graph, which lets nothing wait, does no harm. Guarantee and failure are those of the projector: it may be killed
 * anywhere and goes on where the graph is.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Mapping } from '../../core/mapping.ts';
import type { PartitionRange } from '../../kafka/offsets.ts';
import type { PartitionProgress } from '../../neo4j/progress.ts';
import { createLatch } from '../../runtime/latch.ts';
import { type ProjectOptions, projectService } from '../project/project.ts';
import { recordsBehind } from '../wait.ts';

export interface BuildOptions {
  readonly project: ProjectOptions;
  /** As the topics were when it was decided to build from them. */
  readonly ranges: readonly PartitionRange[];
  readonly progress: () => Promise<readonly PartitionProgress[]>;
  /** Has the statements of these tables planned, which is done while the nodes come. */
  readonly plan: (tables: Mapping, signal: AbortSignal) => Promise<void>;
  /** `applied` of `total` records. */
  readonly onProgress: (applied: number, total: number) => void;
}

const LOOK_EVERY_MS = 100;

/** Resolves to what `then` resolves to, while the projector goes on; it ends with it. */
export async function build<T>(
  options: BuildOptions,
  then: (signal: AbortSignal) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const { ranges } = options;
  const { mapping } = options.project;
  const relationships = mapping.tables.filter(({ target }) => target.kind === 'relationship');
  const laterTopics = new Set(relationships.map(({ topic }) => topic));
  const turn = createLatch();
  let filling = true;
  const project: ProjectOptions = {
    ...options.project,
    filling: () => filling,
    later: { tables: new Set(relationships), turn: turn.passed },
  };
  return projecting(
    project,
    async (stop) => {
      await Promise.all([
        applied(
          ranges.filter(({ topic }) => !laterTopics.has(topic)),
          options,
          stop,
        ),
        options.plan({ ...mapping, tables: relationships }, stop),
      ]);
      turn.open();
      await applied(ranges, options, stop);
      filling = false;
      return then(stop);
    },
    signal,
  );
}

/** Resolves once the graph has all records of `wanted`. */
export async function applied(
  wanted: readonly PartitionRange[],
  { ranges, progress, onProgress }: BuildOptions,
  signal: AbortSignal,
): Promise<void> {
  const total = ranges.reduce((sum, { low, end }) => sum + end - low, 0n);
  for (;;) {
    const reached = await progress();
    onProgress(Number(total - recordsBehind(ranges, reached)), Number(total));
    if (recordsBehind(wanted, reached) === 0n) return;
    await delay(LOOK_EVERY_MS, undefined, { signal });
  }
}

/** A projector runs while `work` does; what ends it early ends the work. */
async function projecting<T>(
  options: ProjectOptions,
  work: (signal: AbortSignal) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const ended = new AbortController();
  const both = AbortSignal.any([signal, ended.signal]);
  const running = projectService(options)
    .run(both)
    .catch((error: unknown) => {
      ended.abort(error);
      throw error;
    });
  // Waited for below, whatever happens before.
  running.catch(() => undefined);
  try {
    const result = await work(both);
    ended.abort();
    return result;
  } catch (error) {
    ended.abort(error);
    throw error;
  } finally {
    // Its failure is what the work ended by.
    await running;
  }
}
