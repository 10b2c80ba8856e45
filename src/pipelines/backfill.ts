/**
 * `graph backfill`: asks for rows again, as they are now (I2).
 *
 *   whole tables: key ranges ─┐
 *   filtered:     keys        ├─▶ requests of at most 1,000 rows ─▶ the WAL, a few ahead of what is in Kafka
 *   ids:          as listed  ─┘
 *
 * Guarantee: what was asked for is durable and will be served, also if this ends or no publisher is running. On failure:
 * as `Sql`; asking for the same again is harmless.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { KeyParts } from '../core/keys.ts';
import type { Lsn } from '../core/lsn.ts';
import type { TableMapping } from '../core/mapping.ts';
import { askable, type RepublishRequest } from '../core/messages.ts';
import { keyRequests, rangeRequest, ROWS_PER_REQUEST } from '../core/republish.ts';
import type { Sql } from '../postgres/client.ts';
import { filteredKeys, keyPage, type RowFilter } from '../postgres/key-pages.ts';
import { requestRepublish } from '../postgres/messages.ts';
import { inspectSlot } from '../postgres/slot.ts';

/** What is asked for of one table. */
export type Wanted =
  | { readonly table: TableMapping; readonly which: 'all' }
  | { readonly table: TableMapping; readonly which: 'filtered'; readonly filter: RowFilter }
  | { readonly table: TableMapping; readonly which: 'listed'; readonly keys: readonly KeyParts[] };

export interface BackfillOptions {
  readonly sql: Sql;
  readonly slot: string;
  readonly wanted: readonly Wanted[];
  readonly runId: string;
  readonly onProgress: (table: string, rows: number) => void;
}

/** Requests that are not in Kafka yet: changes do not wait behind many of them. */
const MOST_AHEAD = 4;
const LOOK_EVERY_MS = 20;

/** Numbers of rows. */
export interface Backfilled {
  readonly asked: number;
  /** No request may list their keys, which are too long for any node or relationship. */
  readonly unaskable: number;
}

/** Resolves, by table, once every request is durable. */
export async function backfill(
  { sql, slot, wanted, runId, onProgress }: BackfillOptions,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Backfilled>> {
  const done = new Map<string, Backfilled>();
  const ahead: Lsn[] = [];
  for (const one of wanted) {
    const { table } = one.table;
    const total = { asked: 0, unaskable: 0 };
    done.set(table, total);
    const onUnaskable = (rows: number) => {
      total.unaskable += rows;
    };
    for await (const { request, rows } of requestsOf(one, { sql, runId, onUnaskable }, signal)) {
      while (ahead.length >= MOST_AHEAD) await served();
      ahead.push(await requestRepublish(sql, request, signal));
      total.asked += rows;
      onProgress(table, total.asked);
    }
  }
  return done;

  /** Without a publisher there is nothing to wait for: it serves all of them when it starts. */
  async function served(): Promise<void> {
    const found = await inspectSlot(sql, slot, signal);
    const confirmed = found?.confirmedFlush ?? 0n;
    const before = ahead.length;
    while (ahead[0] !== undefined && (found?.activePid == null || ahead[0] <= confirmed)) ahead.shift();
    if (ahead.length === before) await delay(LOOK_EVERY_MS, undefined, { signal });
  }
}

interface Asked {
  readonly request: RepublishRequest;
  readonly rows: number;
}

async function* requestsOf(
  wanted: Wanted,
  {
    sql,
    runId,
    onUnaskable,
  }: Pick<BackfillOptions, 'sql' | 'runId'> & { readonly onUnaskable: (rows: number) => void },
  signal: AbortSignal,
): AsyncGenerator<Asked> {
  const { table } = wanted;
  const run = { runId, reason: 'backfill' };
  function* listed(keys: readonly KeyParts[]): Generator<Asked> {
    const named = keys.filter(askable);
    onUnaskable(keys.length - named.length);
    for (const request of keyRequests(table, named, run))
      yield { request, rows: 'keys' in request ? request.keys.length : 0 };
  }
  if (wanted.which === 'listed') {
    yield* listed(wanted.keys);
    return;
  }
  for (let after: KeyParts | null = null, complete = false; !complete;) {
    if (wanted.which === 'all') {
      const page = await keyPage(sql, table, after, ROWS_PER_REQUEST, signal);
      if (page === null) return;
      yield { request: rangeRequest(table, { after, upTo: page.last }, run), rows: page.rows };
      complete = page.rows < ROWS_PER_REQUEST;
      after = page.last;
    } else {
      const keys: readonly KeyParts[] = await filteredKeys(
        sql,
        table,
        wanted.filter,
        after,
        ROWS_PER_REQUEST,
        signal,
      );
      yield* listed(keys);
      complete = keys.length < ROWS_PER_REQUEST;
      after = keys.at(-1) ?? after;
    }
  }
}
