/** For a run without the stream: it must be without it to the end, or what was compared is not what is there. */
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../../core/errors.ts';
import type { PartitionProgress } from '../../neo4j/progress.ts';

export interface Stillness {
  /** The graph's progress, as text. */
  readonly at: string;
  /** Throws STREAM_RUNNING once the graph's progress is not what it was at first. */
  readonly require: () => Promise<void>;
  /** Long enough for a projector that is at work to be seen. */
  readonly watch: (signal: AbortSignal) => Promise<void>;
}

const WATCHED_MS = 2000;

export async function stillness(progress: () => Promise<readonly PartitionProgress[]>): Promise<Stillness> {
  const first = textOf(await progress());

  async function require(): Promise<void> {
    if (textOf(await progress()) === first) return;
    throw new AppError('STREAM_RUNNING', "The stream is running: the graph's progress has moved.");
  }

  return {
    at: first,
    require,
    async watch(signal) {
      await delay(WATCHED_MS, undefined, { signal });
      await require();
    },
  };
}

/** A take-over counts as well: it changes the owner. */
function textOf(progress: readonly PartitionProgress[]): string {
  return progress
    .map(({ topic, partition, next, position, owner }) =>
      JSON.stringify([topic, partition, String(next), position, owner]),
    )
    .sort()
    .join('\n');
}
