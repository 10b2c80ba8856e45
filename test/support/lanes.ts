/** Mutations as projectors would deliver them, tried again as they try; and another transaction that is in the way. */
import { vi } from 'vitest';
import { isAppError } from '../../src/core/errors.ts';
import type { KeyedMutation } from '../../src/core/graph.ts';
import { purgeTombstones } from '../../src/neo4j/purge.ts';
import type { ApplyResult } from '../../src/neo4j/writer.ts';
import type { Lane, TestGraph } from './test-graph.ts';

/** Not one that tests write to by themselves. */
const OWN_PARTITION = 3;

/** One after another, each in a batch of its own. */
export async function deliver(g: TestGraph, mutations: readonly KeyedMutation[]): Promise<void> {
  const lanes = new Map<string, Lane>();
  for (const mutation of mutations) {
    const lane = lanes.get(mutation.table) ?? (await g.lane(mutation.table, OWN_PARTITION));
    lanes.set(mutation.table, lane);
    await persist(() => lane.apply([mutation]));
  }
}

/** Again and again while another transaction was in the way. `onRetry` sees each time. */
export async function persist(
  attempt: () => Promise<ApplyResult>,
  onRetry: (code: string) => void = () => undefined,
): Promise<ApplyResult> {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!isAppError(error, 'NEO4J_TRANSIENT') && !isAppError(error, 'NEO4J_CONSTRAINT')) throw error;
      onRetry(error.code);
    }
  }
}

export interface Held {
  readonly release: (how?: 'commit' | 'rollback') => Promise<void>;
}

/** A transaction of somebody else's that has run a query, and keeps its locks. */
export async function hold(g: TestGraph, query: string, parameters: object = {}): Promise<Held> {
  const session = g.driver.session({ database: g.graph.database });
  const open = await session.beginTransaction();
  await open.run(g.rename(query), parameters);
  return {
    async release(how = 'commit') {
      await open[how]();
      await session.close();
    },
  };
}

/** Holds the transaction of a batch until it is released. */
export function heldBatch(): {
  readonly holding: () => Promise<void>;
  readonly reached: Promise<void>;
  readonly release: () => void;
} {
  let release = (): void => undefined;
  let arrive = (): void => undefined;
  const reached = new Promise<void>((resolve) => (arrive = resolve));
  const released = new Promise<void>((resolve) => (release = resolve));
  return {
    reached,
    release,
    holding: () => {
      arrive();
      return released;
    },
  };
}

/** Purges every tombstone, as if it were old enough; resolves to how many. */
export const purgeAll = (g: TestGraph): Promise<number> =>
  purgeTombstones(
    g.graph,
    { ...g.mapping, sink: { ...g.mapping.sink, tombstoneRetentionMs: -60_000 } },
    new AbortController().signal,
  );

/** Resolves once a statement of this graph's writers that contains the text waits for a lock. */
export async function blocked(g: TestGraph, text: string): Promise<void> {
  const wanted = g.rename(`:${text}`).slice(1);
  await vi.waitFor(
    async () => {
      const waiting = await g.cypher(
        `SHOW TRANSACTIONS YIELD status, currentQuery WHERE status STARTS WITH 'Blocked' AND currentQuery CONTAINS $wanted RETURN status`,
        { wanted },
      );
      if (waiting.length === 0) throw new Error(`nothing with ${wanted} waits for a lock`);
    },
    { timeout: 30_000, interval: 20 },
  );
}
