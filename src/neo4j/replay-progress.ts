/**
 * How far a replay is: progress nodes of its own (I8), with where each partition begins and ends, there from its
 * beginning until it is finished. So a replay that was ended goes on from there, to the ends that it began with; the
 * stream's progress is neither read nor written by it.
 */
import { AppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import type { Stretch } from '../core/replay.ts';
import type { Graph } from './client.ts';
import { fromProperties, type PartitionProgress, progressId, type Scope, TAKE_OVER_MS } from './progress.ts';
import { lockGraph } from './rebuild-mark.ts';

const SCOPE = 'replay' satisfies Scope;

export interface ReplayProgress extends PartitionProgress, Stretch {}

export interface Replay {
  readonly owner: string;
  /** What decides what it does: another one does not go on where this one was ended. */
  readonly id: string;
  /** For people. */
  readonly what: string;
}

/**
 * Takes over what an earlier run with the same id has left, owner first, so that it is fenced off; else begins with
 * `stretches`. `restart`: what is left is given up. Throws REPLAY_UNFINISHED if it is another replay's.
 */
export async function beginReplay(
  graph: Graph,
  mapping: Mapping,
  replay: Replay & { readonly restart: boolean },
  stretches: readonly (Stretch & { readonly generation: string })[],
): Promise<{ readonly resumed: boolean; readonly progress: readonly ReplayProgress[] }> {
  const { owner, id, what, restart } = replay;
  const { namespace } = mapping.sink;
  return graph.transaction(
    async (open) => {
      // One at a time, also where there is nothing yet to lock.
      await lockGraph(open, mapping);
      if (restart) await open.run(REMOVE, { namespace, scope: SCOPE });
      const left = await open.run(TAKE_OVER, { namespace, scope: SCOPE, owner });
      if (left.records.length === 0) {
        const rows = stretches.map(({ topic, partition, start, end, generation }) => ({
          id: progressId(mapping, topic, partition, SCOPE),
          ...{ namespace, scope: SCOPE, replay: id, what, owner, generation },
          ...{ topic, partition: BigInt(partition), start, end, next: start },
          ...{ position: '', epoch: 0n, session: 0n },
        }));
        await open.run('UNWIND $rows AS row CREATE (p:_Progress) SET p = row', { rows });
        return { resumed: false, progress: rows.map(replayProgress) };
      }
      const rows = left.records.map((record) => record.get('progress') as Properties);
      const other = rows.find((row) => row['replay'] !== id);
      if (other === undefined) return { resumed: true, progress: rows.map(replayProgress) };
      throw new AppError(
        'REPLAY_UNFINISHED',
        `A replay of ${String(other['what'])} is not finished; its options, connector files or topics are not those of this one.`,
      );
    },
    { timeoutMs: TAKE_OVER_MS },
  );
}

const TAKE_OVER = `MATCH (p:_Progress {namespace: $namespace, scope: $scope})
SET p.owner = $owner
WITH p RETURN properties(p) AS progress`;

const REMOVE = 'MATCH (p:_Progress {namespace: $namespace, scope: $scope}) DELETE p';

/** Of an unfinished replay, whoever's it is; empty if there is none. */
export async function readReplay(graph: Graph, { sink }: Mapping): Promise<readonly ReplayProgress[]> {
  const rows = await graph.run(
    'MATCH (p:_Progress {namespace: $namespace, scope: $scope}) RETURN properties(p) AS progress',
    { namespace: sink.namespace, scope: SCOPE },
  );
  return rows.map((row) => replayProgress(row['progress'] as Properties));
}

/** It is finished: nothing is left to go on from. */
export async function endReplay(graph: Graph, { sink }: Mapping, owner: string): Promise<void> {
  await graph.run('MATCH (p:_Progress {namespace: $namespace, scope: $scope, owner: $owner}) DELETE p', {
    namespace: sink.namespace,
    scope: SCOPE,
    owner,
  });
}

type Properties = Readonly<Record<string, unknown>>;

function replayProgress(row: Properties): ReplayProgress {
  return { ...fromProperties(row), start: row['start'] as bigint, end: row['end'] as bigint };
}
