/**
 * The wire format (design §8): Debezium's JSON envelope, schemas off, with our position in `source`. Encoding goes
 * from PostgreSQL's text to JSON text directly; decoding checks everything the projector relies on.
 */
import { AppError } from './errors.ts';
import { type Op, type Relation, type TransactionInfo, type Tuple, UNCHANGED } from './change.ts';
import { incompleteChange } from './incomplete.ts';
import { formatLsn, type Lsn } from './lsn.ts';
import { isPosition, parsePosition, type Position } from './position.ts';
import { wireEncoder } from './values.ts';

/** A value on the wire: int8 beyond ±(2^53−1), numeric, json and timestamps are strings. */
export type WireValue = string | number | boolean | null;
export type WireRow = Readonly<Record<string, WireValue>>;

export interface RowEncoder {
  /** The key columns as a JSON object, in the mapping's order. Throws SOURCE_CHANGED if one is null. */
  readonly key: (tuple: Tuple) => string;
  /** All published columns as a JSON object, without those whose value is unknown (untouched TOAST, not mapped). */
  readonly row: (tuple: Tuple) => string;
}

/** Built once per relation of the stream. Throws POSTGRES_SCHEMA if a key column is missing. */
export function rowEncoder(relation: Relation, key: readonly string[]): RowEncoder {
  const fields = relation.columns.map((column, index) => ({
    index,
    label: `${JSON.stringify(column.name)}:`,
    encode: wireEncoder(column.typeOid),
  }));
  const keyFields = key.map((name) => {
    const field = fields[relation.columns.findIndex((column) => column.name === name)];
    if (field) return field;
    const table = `${relation.schema}.${relation.name}`;
    throw new AppError('POSTGRES_SCHEMA', `Table ${table} has no key column ${name} any more.`, {
      context: { table },
    });
  });
  const object = (chosen: typeof fields) => (tuple: Tuple) => {
    let text = '{';
    for (const { index, label, encode } of chosen) {
      const cell = tuple[index];
      // Only of a column that is not mapped can a value still be unknown here.
      if (cell === undefined || cell === UNCHANGED) continue;
      if (text.length > 1) text += ',';
      text += label + (cell === null ? 'null' : encode(cell));
    }
    return text + '}';
  };
  const keyObject = object(keyFields);
  return {
    key(tuple) {
      // A key is never null: the old row of a partition holds nulls where its replica identity ends.
      if (keyFields.some(({ index }) => tuple[index] === null))
        throw incompleteChange(relation, `its key (${key.join(', ')})`);
      return keyObject(tuple);
    },
    row: object(fields),
  };
}

/** What all records of one publisher session say about their source. */
export interface Origin {
  readonly name: string;
  readonly database: string;
  readonly epoch: number;
  readonly session: number;
}

export type SourceEncoder = (schema: string, table: string, position: Position, ownLsn: Lsn) => string;

/** The `source` of a transaction's records. */
export function sourceEncoder(origin: Origin, transaction: TransactionInfo): SourceEncoder {
  const { epoch, session } = origin;
  const xid = transaction.xid;
  const head =
    `{"version":"1","connector":"postgresql","name":${JSON.stringify(origin.name)},"ts_ms":${commitMs(transaction)},` +
    `"snapshot":"false","db":${JSON.stringify(origin.database)},"txId":${xid},"xid":${xid},"epoch":${epoch},` +
    `"session":${session},"commitLsn":"${formatLsn(transaction.commitLsn)}",`;
  return (schema, table, position, ownLsn) =>
    `${head}"schema":${JSON.stringify(schema)},"table":${JSON.stringify(table)},"lsn":"${formatLsn(ownLsn)}","position":"${position}"}`;
}

function commitMs(transaction: TransactionInfo): string {
  return (transaction.commitTimeMicros / 1000n).toString();
}

export function envelope(
  op: Op,
  before: string | null,
  after: string | null,
  source: string,
  nowMs: number,
): string {
  return `{"before":${before ?? 'null'},"after":${after ?? 'null'},"source":${source},"op":"${op}","ts_ms":${nowMs}}`;
}

/** The key of a truncate record: one such record stands in every partition. */
export function truncateKey(table: string): string {
  return JSON.stringify({ $truncate: table });
}

const OPENING = 'graph.session';

/** An epoch begins with a session: Debezium's shape of a logical message. */
export function opening(source: string, nowMs: number): string {
  return `{"source":${source},"op":"m","ts_ms":${nowMs},"message":{"prefix":"${OPENING}","content":""}}`;
}

/** The key of such a record, which stands in every partition, and stays there. */
export function openingKey(session: number): string {
  return JSON.stringify({ $session: session });
}

interface DecodedSource {
  readonly position: Position;
  readonly epoch: number;
  readonly session: number;
  /** `schema.table`. */
  readonly table: string;
  /** When the transaction committed, ms since the Unix epoch. */
  readonly committedMs: number;
}

export interface DecodedChange extends DecodedSource {
  readonly op: Op;
  /** Key columns (d), whole row (u) or null. */
  readonly before: WireRow | null;
  readonly after: WireRow | null;
}

/** What comes behind it is of its session or a later one, or came too late. */
export interface DecodedOpening extends DecodedSource {
  readonly op: 'm';
}

export type DecodedRecord = DecodedChange | DecodedOpening;

/** Throws RECORD_MALFORMED, saying which part is wrong, never what it held. */
export function decodeRecord(value: Uint8Array | null): DecodedRecord {
  if (value === null) throw malformed('its value is null; deletes are records of their own here');
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('utf8'));
  } catch {
    throw malformed('its value is not JSON');
  }
  if (!isObject(parsed)) throw malformed('its value is not an envelope');
  const { op, source, before, after, message } = parsed;
  if (!isOp(op) && op !== 'm') throw malformed('its op is not one of c, u, d, r, t, m');
  if (op === 'm' && !(isObject(message) && message['prefix'] === OPENING))
    throw malformed('it is a message, and not one of ours');
  if (!isObject(source)) throw malformed('it has no source');
  const { position, epoch, session, schema, table, ts_ms } = source;
  if (typeof position !== 'string' || !isPosition(position))
    throw malformed('its position is missing or misshapen');
  if (!isCount(epoch) || Number(position.slice(0, 10)) !== epoch)
    throw malformed('its epoch is missing or not that of its position');
  if (!isCount(session)) throw malformed('its session is missing');
  if (typeof schema !== 'string' || typeof table !== 'string') throw malformed('its table is missing');
  if (!isCount(ts_ms)) throw malformed('its commit time is missing');
  const decoded = { position, epoch, session, table: `${schema}.${table}`, committedMs: ts_ms };
  if (op === 'm') return { op, ...decoded };
  return { op, ...decoded, before: rowOrNull(before, 'before'), after: rowOrNull(after, 'after') };
}

/** The transaction that a record is of; null if it is of none. */
export function commitOf(
  value: Uint8Array | null,
): { readonly epoch: number; readonly lsn: Lsn; readonly xid: number } | null {
  if (value === null) return null;
  let content: { op?: unknown; source?: unknown };
  try {
    content = JSON.parse(Buffer.from(value).toString('utf8')) as typeof content;
  } catch {
    return null;
  }
  const { op, source } = content;
  if (!isOp(op) || !isObject(source)) return null;
  const { position, xid } = source;
  if (typeof position !== 'string' || !isPosition(position) || !isCount(xid)) return null;
  const { epoch, commitLsn } = parsePosition(position);
  return { epoch, lsn: commitLsn, xid };
}

function malformed(what: string): AppError {
  return new AppError('RECORD_MALFORMED', `The record cannot be read: ${what}.`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isOp(value: unknown): value is Op {
  return value === 'c' || value === 'u' || value === 'd' || value === 'r' || value === 't';
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function rowOrNull(value: unknown, name: string): WireRow | null {
  if (value === null || value === undefined) return null;
  if (!isObject(value)) throw malformed(`its ${name} is not a row`);
  for (const column of Object.values(value)) {
    if (typeof column === 'object' && column !== null) throw malformed(`its ${name} holds a nested value`);
  }
  return value as WireRow;
}
