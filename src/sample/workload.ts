/**
 * A live platform: changes at a steady rate, over some connections, in transactions of one or several actions.
 *
 * Paced, not bursty: each connection writes when its next change is due. One that has fallen behind (a slow server)
 * makes up for at most {@link FORGIVEN_MS}; the rate then achieved shows in the counts. A failing statement ends the
 * workload with its error; what was committed stays. The signal ends it early, after the transactions under way.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { ClientBase, Pool } from 'pg';
import { type Action, ACTIONS, type Op, prepared, type Scene, type Statement } from './actions.ts';
import { knownRows } from './known-rows.ts';
import { type Random, random } from './random.ts';
import { qualified, type ReplicatedTable } from './tables.ts';

export type Mix = Readonly<Record<Action, number>>;

export interface WorkloadOptions {
  /** Changes (rows written to replicated tables) a second, over all connections. */
  readonly rate: number;
  readonly durationMs: number;
  /** Decides actions and texts; ids of new rows are new in every run. */
  readonly seed: number;
  /** Weights that differ from the usual ones. */
  readonly mix?: Partial<Mix>;
  readonly schema?: string;
  /** Ids of entities that others change. */
  readonly leftAlone?: readonly string[];
  /** Default 4; the pool must have as many. */
  readonly connections?: number;
  readonly signal?: AbortSignal;
}

export interface WorkloadEvent {
  readonly actions: readonly Action[];
  readonly changes: number;
  /** As `Date.now()`, right after the commit. */
  readonly committedAtMs: number;
}

export interface WorkloadCounts {
  readonly transactions: number;
  readonly changes: number;
  /** Rows written, by table and operation. */
  readonly rows: Readonly<Record<ReplicatedTable, Readonly<Record<Op, number>>>>;
  /** Rows written to `blob`, which nobody replicates; not among the changes. */
  readonly noise: number;
  readonly elapsedMs: number;
}

const USUAL_MIX: Mix = {
  create: 12,
  edit: 14,
  touch: 18,
  burst: 1,
  retype: 2,
  delete: 3,
  appear: 3,
  recreate: 2,
  relate: 14,
  anticipate: 3,
  move: 3,
  unrelate: 4,
  extract: 6,
  classify: 3,
  link: 8,
  unlink: 2,
  relink: 2,
};

const STREAM = 100;
const FORGIVEN_MS = 100;
const SEVERAL_ACTIONS_CHANCE = 0.2;
const MOST_ACTIONS = 20;
const NOISE_CHANCE = 0.02;
const MOST_NOISE_BYTES = 16_384;

interface Transaction {
  readonly actions: readonly Action[];
  readonly statements: readonly Statement[];
  readonly noiseBytes: number;
}

export async function runWorkload(
  pool: Pick<Pool, 'connect'>,
  options: WorkloadOptions,
  onEvent: (event: WorkloadEvent) => void = () => undefined,
): Promise<WorkloadCounts> {
  const { schema = 'public', connections = 4, seed, rate, durationMs, mix = {}, leftAlone = [] } = options;
  const draws = Array.from({ length: connections }, (_, index) => random(seed, STREAM, index));
  const hands = await connected(pool, (client) => knownRows(client, schema, draws, new Set(leftAlone)));
  const chooseAction = weighted({ ...USUAL_MIX, ...mix });
  const mostActions = Math.min(MOST_ACTIONS, Math.max(3, rate / 10));
  const msPerChange = (1000 / rate) * connections;

  // The first failure stops the other connections as well.
  const failure = new AbortController();
  const signal = AbortSignal.any([failure.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const startMs = performance.now();
  const tally = newTally();

  const work = async (client: ClientBase, scene: Scene, index: number): Promise<void> => {
    let dueMs = startMs + (msPerChange * index) / connections;
    while (dueMs < startMs + durationMs && (await reached(dueMs, signal))) {
      const transaction = plan(scene, chooseAction, mostActions);
      const changes = await carryOut(client, schema, transaction, tally);
      if (changes > 0) onEvent({ actions: transaction.actions, changes, committedAtMs: Date.now() });
      dueMs = nextDue(dueMs, changes, msPerChange, performance.now());
    }
  };
  const outcomes = await Promise.allSettled(
    hands.map((known, index) =>
      connected(pool, (client) => work(client, { schema, known, draw: known.draw }, index)).catch(
        (error: unknown) => {
          failure.abort();
          throw error;
        },
      ),
    ),
  );
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  return { ...tally, elapsedMs: performance.now() - startMs };
}

/** When the next change is due. What cannot be made up within {@link FORGIVEN_MS} is let go. */
export function nextDue(dueMs: number, changes: number, msPerChange: number, nowMs: number): number {
  return Math.max(dueMs + Math.max(1, changes) * msPerChange, nowMs - FORGIVEN_MS);
}

/** Resolves at that time, to false if the signal came first. */
async function reached(timeMs: number, signal: AbortSignal): Promise<boolean> {
  const waitMs = timeMs - performance.now();
  if (waitMs > 0) await delay(waitMs, undefined, { signal }).catch(() => undefined);
  return !signal.aborted;
}

function plan(scene: Scene, chooseAction: (draw: Random) => Action, mostActions: number): Transaction {
  const { draw } = scene;
  const count = draw.chance(SEVERAL_ACTIONS_CHANCE) ? 2 + draw.below(mostActions - 1) : 1;
  const actions = Array.from({ length: count }, () => chooseAction(draw));
  return {
    actions,
    statements: actions.flatMap((action) => ACTIONS[action](scene)),
    noiseBytes: draw.chance(NOISE_CHANCE) ? 1 + draw.below(MOST_NOISE_BYTES) : 0,
  };
}

/** Resolves to the number of changes committed. */
async function carryOut(
  client: ClientBase,
  schema: string,
  { statements, noiseBytes }: Transaction,
  tally: Tally,
): Promise<number> {
  if (statements.length === 0) return 0;
  let changes = 0;
  await client.query('begin');
  for (const statement of statements) {
    const { rowCount } = await client.query(prepared(statement, schema));
    tally.rows[statement.table][statement.op] += rowCount ?? 0;
    changes += rowCount ?? 0;
  }
  if (noiseBytes > 0) {
    await client.query(`insert into ${qualified(schema, 'blob')} (content) values ($1)`, [
      randomBytes(noiseBytes),
    ]);
    tally.noise++;
  }
  await client.query('commit');
  tally.transactions++;
  tally.changes += changes;
  return changes;
}

function weighted(mix: Mix): (draw: Random) => Action {
  const weights = Object.entries(mix) as [Action, number][];
  const total = weights.reduce((sum, [, weight]) => sum + weight, 0);
  return (draw) => {
    let rest = draw.fraction() * total;
    return weights.find(([, weight]) => (rest -= weight) < 0)?.[0] ?? 'create';
  };
}

/** A connection that failed is closed, which rolls back what it had begun. */
async function connected<T>(
  pool: Pick<Pool, 'connect'>,
  use: (client: ClientBase) => Promise<T>,
): Promise<T> {
  const client = await pool.connect();
  let done = false;
  try {
    const result = await use(client);
    done = true;
    return result;
  } finally {
    client.release(!done);
  }
}

interface Tally {
  transactions: number;
  changes: number;
  noise: number;
  readonly rows: Record<ReplicatedTable, Record<Op, number>>;
}

function newTally(): Tally {
  const none = (): Record<Op, number> => ({ insert: 0, update: 0, delete: 0 });
  return {
    transactions: 0,
    changes: 0,
    noise: 0,
    rows: { entity: none(), relation: none(), extract: none(), entity_extract: none() },
  };
}
