/**
 * The initial load (design §2): rows that are older than the slot are asked for, in the stream itself.
 *
 *   the next 1,000 keys ─▶ a request for their range ─▶ answered in line by the republisher ─▶ the next
 *
 * Guarantee: every row that was there when the slot was made is published, at whatever point this dies. The cursor says
 * up to where requests are in the WAL, from where they are served however often we start again; a table is loaded once
 * the last of its answers is acknowledged. At most two requests are unanswered, so that changes do not wait behind them.
 * On failure: as `Sql`; it goes on in the next session, from what was recorded last.
 */
import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { KeyParts } from '../../core/keys.ts';
import { type Loads, paceOf, type TableLoad, unloaded } from '../../core/loads.ts';
import type { Lsn } from '../../core/lsn.ts';
import type { Mapping, TableMapping } from '../../core/mapping.ts';
import { REPUBLISH_PREFIX, type RepublishRequest } from '../../core/messages.ts';
import { rangeRequest, ROWS_PER_REQUEST } from '../../core/republish.ts';
import type { Sql } from '../../postgres/client.ts';
import { keyPage } from '../../postgres/key-pages.ts';
import { emitMessage } from '../../postgres/messages.ts';
import { readWitness } from '../../postgres/rows.ts';
import { estimateRows } from '../../postgres/tables.ts';
import type { Log } from '../../runtime/log.ts';

export interface LoaderOptions {
  readonly mapping: Mapping;
  readonly sql: Sql;
  readonly recorded: Loads;
  /** Leave out the older rows of tables that were never loaded. */
  readonly skip: boolean;
  readonly log: Log;
}

export interface Loader {
  /** Resolves when everything is asked for and answered, or at the signal. */
  readonly run: (signal: AbortSignal) => Promise<void>;
  /** The request is answered whole, by records of the transaction that committed there. */
  readonly answered: (request: RepublishRequest, commitLsn: Lsn) => void;
  /** What to record together with an acknowledgement. */
  readonly loads: (acknowledged: Lsn) => Loads;
}

const UNANSWERED = 2;
const SAY_EVERY_MS = 10_000;
const LOOK_EVERY_MS = 200;

export function createLoader({ mapping, sql, recorded, skip, log }: LoaderOptions): Loader {
  const loads = new Map<string, TableLoad>();
  for (const { table } of mapping.tables) loads.set(table, recorded[table] ?? newLoad(skip));
  const unanswered = new Set<string>();
  const answers = new EventEmitter();
  /** Of tables of which everything is asked for: the commit of the last answer. */
  const finished = new Map<string, Lsn>();
  let lastAnswer: Lsn = 0n as Lsn;

  /**
   * A transaction from before the slot may have been decoded by nobody and still be invisible, as it waits for a
   * synchronous standby: what was running when we began must have ended before the first row is read.
   */
  async function olderOnesEnded(signal: AbortSignal): Promise<void> {
    const { xmax } = (await readWitness(sql, signal)).snapshot;
    for (let first = true; (await readWitness(sql, signal)).snapshot.xmin < xmax; first = false) {
      if (first) log.info('the initial load waits for transactions that are older');
      await delay(LOOK_EVERY_MS, undefined, { signal });
    }
  }

  async function load(table: TableMapping, signal: AbortSignal): Promise<void> {
    let current = loads.get(table.table) ?? newLoad(false);
    if (current.cursor === null) current = { ...current, expected: await estimateRows(sql, [table]) };
    let saidAt = performance.now();
    for (let after = current.cursor, complete = false; !complete;) {
      while (unanswered.size >= UNANSWERED) await once(answers, 'one', { signal });
      const page = await keyPage(sql, table, after, ROWS_PER_REQUEST, signal);
      const upTo = page?.rows === ROWS_PER_REQUEST ? page.last : null;
      complete = upTo === null;
      unanswered.add(rangeId(table.table, upTo));
      const request = rangeRequest(table, { after, upTo }, { runId: current.runId, reason: 'initial load' });
      await emitMessage(sql, REPUBLISH_PREFIX, JSON.stringify(request), signal);
      after = upTo ?? after;
      current = { ...current, cursor: after, rows: current.rows + (page?.rows ?? 0) };
      loads.set(table.table, current);
      if (performance.now() - saidAt < SAY_EVERY_MS) continue;
      saidAt = performance.now();
      say(table.table, current, 'initial load');
    }
    while (unanswered.size > 0) await once(answers, 'one', { signal });
    finished.set(table.table, lastAnswer);
    say(table.table, current, 'initial load: every row is in the stream');
  }

  function say(table: string, load: TableLoad, message: string): void {
    const { rows, expected } = load;
    log.info({ table, rows, expected, ...paceOf(load, Date.now()) }, message);
  }

  return {
    async run(signal) {
      const tables = unloaded(Object.fromEntries(loads), mapping.tables);
      try {
        if (tables.length > 0) await olderOnesEnded(signal);
        for (const table of mapping.tables) if (tables.includes(table.table)) await load(table, signal);
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    },
    answered(request, commitLsn) {
      if (!('range' in request) || loads.get(request.table)?.runId !== request.runId) return;
      if (!unanswered.delete(rangeId(request.table, request.range.upTo))) return;
      lastAnswer = commitLsn;
      answers.emit('one');
    },
    loads(acknowledged) {
      for (const [table, answeredAt] of finished) {
        const load = loads.get(table);
        if (load === undefined || acknowledged <= answeredAt) continue;
        loads.set(table, { ...load, state: 'loaded' });
        finished.delete(table);
      }
      return Object.fromEntries(loads);
    },
  };
}

function rangeId(table: string, upTo: KeyParts | null): string {
  return JSON.stringify([table, upTo]);
}

function newLoad(skip: boolean): TableLoad {
  return {
    state: skip ? 'skipped' : 'loading',
    runId: randomUUID(),
    cursor: null,
    rows: 0,
    expected: 0,
    startedAt: new Date().toISOString(),
  };
}
