/**
 * Answers requests to republish (I2–I4), at their place in the stream:
 *
 *   message at M ─▶ what is asked ─▶ the rows as they are now ─▶ r for each, d for each listed key without one, all at M
 *
 * Guarantee: what is published at M was read by a snapshot that sees every transaction up to M's own. Reading may begin
 * once the message is received, before its turn has come; what was read too early is read again for a moment, and then
 * the request is emitted once more and answered where that stands, so that neither a silent synchronous standby nor a
 * locked table holds up the stream. So is what goes beyond 1,000 rows or 4 MiB. Of a rest that a crash has had emitted
 * twice, the second is passed over.
 * On failure: a request that cannot be understood is counted, logged without its content, and skipped.
 */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { MessageChange } from '../../core/change.ts';
import { formatLsn, type Lsn, LSN_ZERO } from '../../core/lsn.ts';
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
import { flushedLsn, requestRepublish } from '../../postgres/messages.ts';
import type { RowReader, RowsRead } from '../../postgres/rows.ts';
import type { Log } from '../../runtime/log.ts';
import type { Answer } from './flow.ts';
import type { Expectation, Visibility } from './visibility.ts';

export interface RepublisherOptions {
  readonly mapping: Mapping;
  readonly sql: Sql;
  readonly rows: Pick<RowReader, 'keys' | 'range'>;
  readonly visibility: Visibility;
  readonly encoder: RecordEncoder;
  /** Called when nothing is left of the request. */
  readonly onAnswered: (request: RepublishRequest, commitLsn: Lsn) => void;
  /** Called when one cannot be understood; how many there were, this one with them. */
  readonly onRefused: () => number;
  /** Called when what is left of one was asked for by another, the last so far. */
  readonly onAskedAgain: (lsn: Lsn) => void;
  readonly log: Log;
}

export interface Republisher {
  /** Begins to read what a message asks for that is received, and soon to be answered. */
  readonly prepare: (message: Pick<MessageChange, 'prefix' | 'content'>, signal: AbortSignal) => void;
  readonly answer: (message: MessageChange, signal: AbortSignal) => Promise<Answer>;
}

interface Asked {
  readonly request: RepublishRequest;
  readonly table: TableMapping;
  readonly reading: Reading;
}

interface Begun extends Asked {
  readonly expectation: Expectation;
  /** null: not to be had. */
  readonly found: Promise<RowsRead | null>;
}

/** A commit is visible moments after it can be decoded, unless it waits for a standby: then so do those of the next requests. */
const PATIENCE_MS = 100;
/** Of a table that is locked, requests are postponed without a look. */
const LOCKED_MS = 1000;
const POLL_MS = 5;
const ASK_AGAIN_AFTER_MS = 2000;
/** What is behind them in the stream is long acknowledged. */
const RESTS_REMEMBERED = 10_000;
const NOTHING: Answer = { records: [], seen: LSN_ZERO, again: null };

export function createRepublisher(options: RepublisherOptions): Republisher {
  const { mapping, sql, rows, visibility, encoder, log } = options;
  /** By content, of messages that are still to be answered. */
  const prepared = new Map<Buffer, Begun>();
  /** Digests of the rests that were answered. */
  const answered = new Set<string>();
  /** By table, until when no request looks. */
  const lockedUntil = new Map<string, number>();
  let waits = false;
  let postponed = 0;
  let askedAgain = LSN_ZERO;

  function understand(content: Buffer): Asked | string {
    const request = parseRepublishRequest(content);
    if (request === null) return 'it is not of the documented form';
    const table = tableByName(mapping, request.table);
    if (table === undefined) return 'its table is not mapped';
    const reading = readingOf(request, table);
    return reading === null ? 'its keys are not those of the table' : { request, table, reading };
  }

  function read({ table, reading }: Asked, signal: AbortSignal): Promise<RowsRead | null> {
    return reading.kind === 'keys'
      ? rows.keys(table, reading.keys, signal)
      : rows.range(table, reading, ROWS_PER_REQUEST, signal);
  }

  /** null: not yet to be had. Many may be asked for at once: only one of them is waited for. */
  async function readInTime(asked: Asked, signal: AbortSignal): Promise<RowsRead | null> {
    const { table } = asked.table;
    if (performance.now() < (lockedUntil.get(table) ?? 0)) return null;
    const deadline = performance.now() + (waits ? 0 : PATIENCE_MS);
    const expectation = visibility.expect();
    try {
      for (;;) {
        const found = await read(asked, signal);
        if (found === null) lockedUntil.set(table, performance.now() + LOCKED_MS);
        else if (expectation.metBy(found.witness)) waits = false;
        else if (performance.now() > deadline) waits = true;
        else {
          await delay(POLL_MS, undefined, { signal });
          continue;
        }
        return waits ? null : found;
      }
    } finally {
      expectation.end();
    }
  }

  /** null: it has to be read now. */
  async function readBefore({ expectation, found }: Begun): Promise<RowsRead | null> {
    const rows = await found;
    expectation.end();
    return rows !== null && expectation.metBy(rows.witness) ? rows : null;
  }

  async function emit(request: RepublishRequest): Promise<Lsn> {
    const at = await requestRepublish(sql, request);
    // Several are emitted at once, and heard of in any order.
    if (at > askedAgain) {
      askedAgain = at;
      options.onAskedAgain(at);
    }
    return flushedLsn(sql);
  }

  return {
    prepare({ prefix, content }, signal) {
      if (prefix !== REPUBLISH_PREFIX) return;
      const asked = understand(content);
      if (typeof asked === 'string') return;
      const expectation = visibility.expect();
      // Whatever it fails by shows when it is read in its turn.
      const found = read(asked, signal).catch(() => null);
      prepared.set(content, { ...asked, expectation, found });
    },
    async answer(message, signal) {
      const { prefix, content, position, ownLsn, transaction } = message;
      if (prefix !== REPUBLISH_PREFIX) return NOTHING;
      const begun = prepared.get(content);
      prepared.delete(content);
      const asked = begun ?? understand(content);
      if (typeof asked === 'string') {
        log.warn({ position, refused: options.onRefused() }, `a request to republish is skipped: ${asked}`);
        return NOTHING;
      }
      const { request, table, reading } = asked;
      // Only what is emitted by us can come twice for one origin.
      const digest =
        request.origin === undefined ? null : createHash('sha1').update(content).digest('base64');
      const startedAt = performance.now();
      visibility.received(transaction.xid);
      const early = begun === undefined ? null : await readBefore(begun);
      if (digest !== null && answered.has(digest)) {
        log.debug({ position, table: table.table }, 'the rest of a request comes a second time: passed over');
        return NOTHING;
      }
      const origin = request.origin ?? formatLsn(ownLsn);
      const found = early ?? (await readInTime(asked, signal));
      if (found === null) {
        postponed += 1;
        log.debug(
          { position, table: table.table, postponed },
          'a request to republish has to wait: asked again',
        );
        return {
          ...NOTHING,
          again: { afterMs: ASK_AGAIN_AFTER_MS, emit: () => emit({ ...request, origin }) },
        };
      }

      const { relation, keys, more } = found;
      const last = keys.at(-1);
      const { absent, unread } =
        reading.kind === 'keys' ? absentKeys(table, reading.listed, keys, more) : { absent: [], unread: [] };
      const rest =
        reading.kind === 'keys'
          ? restOfKeys(request, unread)
          : more && last !== undefined
            ? restOfRange(request, last)
            : null;
      if (rest === null) options.onAnswered(request, transaction.commitLsn);
      if (digest !== null) remember(digest);
      const now = Date.now();
      const records = found.rows.flatMap((after) =>
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
          rows: found.rows.length,
          absent: absent.length,
          readBefore: early !== null,
          last: rest === null,
          ms: Math.round(performance.now() - startedAt),
        },
        'republished',
      );
      return {
        records,
        seen: found.witness.insertLsn,
        again: rest === null ? null : { afterMs: 0, emit: () => emit({ ...rest, origin }) },
      };
    },
  };

  function remember(digest: string): void {
    answered.add(digest);
    for (const oldest of answered) {
      if (answered.size <= RESTS_REMEMBERED) break;
      answered.delete(oldest);
    }
  }
}
