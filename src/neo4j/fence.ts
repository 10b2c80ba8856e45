/**
 * The fence of a partition (I8): work on the graph is done in one transaction with the progress it makes, by the owner
 * who begins where the last one ended, or not at all.
 *
 * The progress node is locked first, so that whoever writes for a partition writes alone; its statement and those of
 * the work are under way together. If the answer to a commit was lost, the next attempt waits for that node, finds the
 * progress made, and is done.
 */
import type { Transaction } from 'neo4j-driver';
import { AppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import type { Position } from '../core/position.ts';
import type { Graph } from './client.ts';
import { NOW } from './cypher.ts';
import { progressId, type Scope } from './progress.ts';

export interface Step {
  readonly topic: string;
  readonly partition: number;
  /** Where the last step ended. */
  readonly from: bigint;
  /** Where this one ends; `from`, if there is more to do before progress is made. */
  readonly next: bigint;
  readonly position: Position;
  readonly epoch: number;
  readonly session: number;
  /** Commit time of the newest change in it, ms since the Unix epoch. */
  readonly committedMs: number | null;
}

/**
 * Resolves to what `work` resolves to, committed; to null if it turns out that an earlier attempt was.
 * Throws PROGRESS_LOST if another projector owns the partition by now, or the graph has lost it, whatever became of
 * `work` meanwhile. `beforeCommit` runs behind the fence.
 */
export type Fence = <T>(
  step: Step,
  work: (open: Transaction) => Promise<T>,
  beforeCommit?: (result: T) => Promise<void>,
) => Promise<T | null>;

const ADVANCE = `MATCH (p:_Progress {id: $id})
REMOVE p._lock
WITH p WHERE p[$now.owner] = $owner AND p[$now.next] = $from
SET p += $advanced
RETURN p.id`;

const STANDING = `MATCH (p:_Progress {id: $id}) RETURN p.owner = $owner AND p.next = $next AS made`;

export function createFence(
  graph: Graph,
  mapping: Mapping,
  { owner, scope = 'stream' }: { readonly owner: string; readonly scope?: Scope },
): Fence {
  return async (step, work, beforeCommit) => {
    const { topic, partition, from, next, position, committedMs } = step;
    const id = progressId(mapping, topic, partition, scope);
    const advanced = {
      next,
      position,
      epoch: BigInt(step.epoch),
      session: BigInt(step.session),
      ...(committedMs === null ? {} : { committedMs: BigInt(committedMs) }),
    };
    try {
      return await graph.transaction(async (open) => {
        // Both, whatever happens to one: a transaction is not given back while a statement of it is under way.
        const [fence, result] = await Promise.allSettled([
          open.run(ADVANCE, { id, owner, from, advanced, now: NOW }),
          work(open),
        ]);
        if (fence.status === 'rejected') throw fence.reason;
        if (fence.value.records.length === 0) throw new Refused();
        if (result.status === 'rejected') throw result.reason;
        await beforeCommit?.(result.value);
        return result.value;
      });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
    const [standing] = await graph.run(STANDING, { id, owner, next });
    if (standing?.['made'] === true) return null;
    throw new AppError(
      'PROGRESS_LOST',
      standing === undefined
        ? `The graph has lost its progress of ${topic}-${partition}: it was emptied or replaced.`
        : `Another projector has taken ${topic}-${partition} over.`,
    );
  };
}

class Refused extends Error {}
