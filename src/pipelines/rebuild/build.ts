/**
 * Fills a graph from the topics by a projector of its own:
 *
 *   node topics up to their ends ─▶ all topics, from here on for as long as `then` takes
 *
 * Nodes come first so that relationships find their ends; the order decides nothing but speed (I7). Guarantee and
 * failure are those of the projector: it may be killed anywhere and goes on where the graph is.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { PartitionRange } from '../../kafka/offsets.ts';
import type { PartitionProgress } from '../../neo4j/progress.ts';
import { type ProjectOptions, projectService } from '../project/project.ts';
import { recordsBehind } from '../wait.ts';

export interface BuildOptions {
  readonly project: ProjectOptions;
  /** As the topics were when it was decided to build from them. */
  readonly ranges: readonly PartitionRange[];
  readonly progress: () => Promise<readonly PartitionProgress[]>;
  /** Has the statements of all tables planned, which is done while the nodes come. */
  readonly plan: (signal: AbortSignal) => Promise<void>;
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
  let filling = true;
  const project = { ...options.project, filling: () => filling };
  const { mapping } = project;
  const nodes = mapping.tables.filter(({ target }) => target.kind === 'node');
  const nodeTopics = new Set(nodes.map(({ topic }) => topic));
  const nodeRanges = ranges.filter(({ topic }) => nodeTopics.has(topic));
  if (recordsBehind(nodeRanges, await options.progress()) > 0n)
    await projecting(
      { ...project, mapping: { ...mapping, tables: nodes } },
      async (stop) => {
        await Promise.all([applied(nodeRanges, options, stop), options.plan(stop)]);
      },
      signal,
    );
  return projecting(
    project,
    async (stop) => {
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
