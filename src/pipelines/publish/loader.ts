/**
 * The initial load (design §2): rows that are older than the slot are asked for, in the stream itself.
 *
 *   the next 1,000 keys ─▶ a request for their range ─▶ answered in line by the republisher ─▶ the next
 *
 * Guarantee: every row that was there when the slot was made is published, at whatever point this dies. The cursor is
 * behind the last range that was answered whole and acknowledged, so the next session asks again for what may have been
 * on its way; a table is loaded once that is true of its last range. At most two requests are unanswered, so that
 * changes do not wait behind them. On failure: as `Sql`; it goes on in the next session, from what was recorded last.
 */
import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { KeyParts } from '../../core/keys.ts';
import { type Loads, paceOf, type TableLoad, unloaded } from '../../core/loads.ts';
import type { Lsn } from '../../core/lsn.ts';
import type { Mapping, TableMapping } from '../../core/mapping.ts';
import type { RepublishRequest } from '../../core/messages.ts';
import { rangeRequest, ROWS_PER_REQUEST } from '../../core/republish.ts';
import type { Sql } from '../../postgres/client.ts';
import { keyPage } from '../../postgres/key-pages.ts';
import { requestRepublish } from '../../postgres/messages.ts';
import { nextTransactionId, readWitness } from '../../postgres/rows.ts';
import { estimateRows } from '../../postgres/tables.ts';
import type { Log } from '../../runtime/log.ts';

export interface LoaderOptions {
  readonly mapping: Mapping;
  readonly sql: Sql;
  readonly recorded: Loads;
  /** Leave out the older rows of tables of which nothing is recorded. */
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

/** Asked for in this session. */
interface Range {
  /** Null: to the table's end. */
  readonly upTo: KeyParts | null;
  readonly rows: number;
  /** Where the last of its answers stands. */
  answeredAt: Lsn | null;
}

export function createLoader({ mapping, sql, recorded, skip, log }: LoaderOptions): Loader {
  // An earlier session's requests may still come: they are answered, and are none of ours.
  const run = { runId: randomUUID(), reason: 'initial load' };
  const loads = new Map<string, TableLoad>();
  /** By table, those that are not both answered and acknowledged, in the order of keys. */
  const ranges = new Map<string, Range[]>();
  for (const { table } of mapping.tables) {
    loads.set(table, recorded[table] ?? newLoad(skip));
    ranges.set(table, []);
  }
  const answers = new EventEmitter();

  /**
   * A transaction from before the slot may have been decoded by nobody and still be invisible, as it waits for a
   * synchronous standby: what was running when we began must have ended before the first row is read.
   */
  async function olderOnesEnded(signal: AbortSignal): Promise<void> {
    const next = await nextTransactionId(sql, signal);
    for (let first = true; (await readWitness(sql, signal)).snapshot.xmin < next; first = false) {
      if (first) log.info('the initial load waits for transactions that are older');
      await delay(LOOK_EVERY_MS, undefined, { signal });
    }
  }

  async function load(table: TableMapping, begun: TableLoad, signal: AbortSignal): Promise<void> {
    const { table: name } = table;
    if (begun.cursor === null)
      loads.set(name, { ...newLoad(false), expected: await estimateRows(sql, [table]) });
    const asked = ranges.get(name) ?? [];
    const unanswered = () => asked.filter(({ answeredAt }) => answeredAt === null).length;
    let saidAt = performance.now();
    for (let after = begun.cursor, complete = false; !complete;) {
      while (unanswered() >= UNANSWERED) await once(answers, 'one', { signal });
      const page = await keyPage(sql, table, after, ROWS_PER_REQUEST, signal);
      const upTo = page?.rows === ROWS_PER_REQUEST ? page.last : null;
      complete = upTo === null;
      asked.push({ upTo, rows: page?.rows ?? 0, answeredAt: null });
      const request = rangeRequest(table, { after, upTo }, run);
      await requestRepublish(sql, request, signal);
      after = upTo;
      if (performance.now() - saidAt < SAY_EVERY_MS) continue;
      saidAt = performance.now();
      say(name, 'initial load');
    }
    while (unanswered() > 0) await once(answers, 'one', { signal });
    say(name, 'initial load: every row is in the stream');
  }

  function say(table: string, message: string): void {
    const load = loads.get(table) ?? newLoad(false);
    const { rows, expected } = load;
    log.info({ table, rows, expected, ...paceOf(load, Date.now()) }, message);
  }

  return {
    async run(signal) {
      const tables = unloaded(Object.fromEntries(loads), mapping.tables);
      try {
        if (tables.length > 0) await olderOnesEnded(signal);
        for (const table of mapping.tables) {
          const begun = loads.get(table.table);
          if (begun !== undefined && tables.includes(table.table)) await load(table, begun, signal);
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    },
    answered(request, commitLsn) {
      if (!('range' in request) || request.runId !== run.runId) return;
      const upTo = JSON.stringify(request.range.upTo);
      const range = ranges.get(request.table)?.find((one) => JSON.stringify(one.upTo) === upTo);
      if (range === undefined) return;
      range.answeredAt = commitLsn;
      answers.emit('one');
    },
    loads(acknowledged) {
      for (const [table, open] of ranges) {
        for (
          let [first] = open;
          first?.answeredAt != null && first.answeredAt < acknowledged;
          [first] = open
        ) {
          const load = loads.get(table) ?? newLoad(false);
          const rows = load.rows + first.rows;
          loads.set(
            table,
            first.upTo === null ? { ...load, rows, state: 'loaded' } : { ...load, rows, cursor: first.upTo },
          );
          open.shift();
        }
      }
      return Object.fromEntries(loads);
    },
  };
}

/** Of a table of which no row is known to be in Kafka. */
export function newLoad(skip: boolean): TableLoad {
  return {
    state: skip ? 'skipped' : 'loading',
    cursor: null,
    rows: 0,
    expected: 0,
    startedAt: new Date().toISOString(),
  };
}
