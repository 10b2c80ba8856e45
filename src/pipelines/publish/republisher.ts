/**
 * Answers requests to republish (I2–I4), at their place in the stream:
 *
 *   message at M ─▶ what is asked ─▶ the rows as they are now ─▶ r for each, d for each listed key without one, all at M
 *
 * Guarantee: what is published at M was read by a snapshot that sees every transaction up to M's own. A reading too
 * early is tried again for a moment; then the request is emitted once more and answered where that stands, so that
 * neither a silent synchronous standby nor a locked table holds up the stream. So is what goes beyond 1,000 rows or 4 MiB.
 * On failure: a request that cannot be understood is counted, logged without its content, and skipped.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { MessageChange } from '../../core/change.ts';
import type { Lsn } from '../../core/lsn.ts';
import { type Mapping, tableByName, type TableMapping } from '../../core/mapping.ts';
import { parseRepublishRequest, REPUBLISH_PREFIX, type RepublishRequest } from '../../core/messages.ts';
import type { RecordEncoder } from '../../core/records.ts';
import {
  absentKeys,
  type Reading,
  readingOf,
  restOfKeys,
  restOfRange,
  ROWS_PER_REQUEST,
} from '../../core/republish.ts';
import type { Sql } from '../../postgres/client.ts';
import { requestRepublish } from '../../postgres/messages.ts';
import type { RowReader, RowsRead } from '../../postgres/rows.ts';
import type { Log } from '../../runtime/log.ts';
import type { Answer } from './flow.ts';
import type { Visibility } from './visibility.ts';

export interface RepublisherOptions {
  readonly mapping: Mapping;
  readonly sql: Sql;
  readonly rows: RowReader;
  readonly visibility: Visibility;
  readonly encoder: RecordEncoder;
  /** Called when nothing is left of the request. */
  readonly onAnswered: (request: RepublishRequest, commitLsn: Lsn) => void;
  /** Called when what is left of one was asked for by another. */
  readonly onAskedAgain: (lsn: Lsn) => void;
  readonly log: Log;
}

export interface Republisher {
  readonly answer: (message: MessageChange, signal: AbortSignal) => Promise<Answer>;
}

/** A commit is visible moments after it can be decoded, unless it waits for a standby. */
const PATIENCE_MS = 100;
const POLL_MS = 5;
const NOTHING: Answer = { records: [], askAgain: null };

export function createRepublisher(options: RepublisherOptions): Republisher {
  const { mapping, sql, rows, visibility, encoder, log } = options;
  let refused = 0;
  let postponed = 0;

  function understand(content: Buffer): [RepublishRequest, TableMapping, Reading] | string {
    const request = parseRepublishRequest(content);
    if (request === null) return 'it is not of the documented form';
    const table = tableByName(mapping, request.table);
    if (table === undefined) return 'its table is not mapped';
    const reading = readingOf(request, table);
    return reading === null ? 'its keys are not those of the table' : [request, table, reading];
  }

  /** null: not yet to be had. */
  async function read(table: TableMapping, reading: Reading, signal: AbortSignal): Promise<RowsRead | null> {
    const deadline = performance.now() + PATIENCE_MS;
    const sees = visibility.expectation();
    for (;;) {
      const found =
        reading.kind === 'keys'
          ? await rows.keys(table, reading.keys, signal)
          : await rows.range(table, reading, ROWS_PER_REQUEST + 1, signal);
      if (found === null || sees(found.witness)) return found;
      if (performance.now() > deadline) return null;
      await delay(POLL_MS, undefined, { signal });
    }
  }

  async function emit(request: RepublishRequest): Promise<void> {
    options.onAskedAgain(await requestRepublish(sql, request));
  }

  return {
    async answer(message, signal) {
      const { prefix, content, position, ownLsn, transaction } = message;
      if (prefix !== REPUBLISH_PREFIX) return NOTHING;
      const understood = understand(content);
      if (typeof understood === 'string') {
        refused += 1;
        log.warn({ position, refused }, `a request to republish is skipped: ${understood}`);
        return NOTHING;
      }
      const [request, table, reading] = understood;
      const startedAt = performance.now();
      visibility.received(transaction.xid);
      const found = await read(table, reading, signal);
      if (found === null) {
        postponed += 1;
        log.debug(
          { position, table: table.table, postponed },
          'a request to republish has to wait: asked again',
        );
        return { records: [], askAgain: () => emit(request) };
      }

      const { relation, keys } = found;
      const tuples = relation === null ? [] : found.rows.slice(0, ROWS_PER_REQUEST);
      const last = keys[tuples.length - 1];
      const { absent, unread } =
        reading.kind === 'keys'
          ? absentKeys(table, reading.listed, keys, found.cut)
          : { absent: [], unread: [] };
      const rest =
        reading.kind === 'keys'
          ? restOfKeys(request, unread)
          : (found.cut || keys.length > tuples.length) && last !== undefined
            ? restOfRange(request, last)
            : null;
      if (rest === null) options.onAnswered(request, transaction.commitLsn);
      else await emit(rest);
      const now = Date.now();
      const records = tuples.flatMap((after) =>
        relation === null
          ? []
          : encoder.encode({ op: 'r', relation, before: null, after, position, ownLsn, transaction }, now),
      );
      for (const key of absent) records.push(encoder.absent(message, table, key, now));
      const { runId } = request;
      log.debug(
        {
          position,
          table: table.table,
          runId,
          rows: tuples.length,
          absent: absent.length,
          ms: Math.round(performance.now() - startedAt),
        },
        'republished',
      );
      return { records, askAgain: null };
    },
  };
}
