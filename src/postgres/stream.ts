/**
 * The replication stream: the only user of pg-logical-replication, whose traps end here.
 *
 * Flow: socket → pg → the library → decoder → queue bounded in bytes → chunks of events, pulled by the reader.
 *       acknowledge(lsn) → standby status → PostgreSQL.
 *
 * Guarantees
 * - Nothing is acknowledged but what `acknowledge` was given, exactly that LSN, never going back.
 * - A reader that stands still stops the socket, not the process and not the connection: a status goes out every third
 *   of wal_sender_timeout, whatever the reader does, and asks PostgreSQL to answer.
 * - PostgreSQL chooses where to start: at the slot's confirmed position.
 *
 * On failure: the first one is final. The connection is closed, what is queued is dropped, the reader's next pull
 * rejects with an AppError, and nothing is acknowledged any more. A stream is never reused: open another.
 */
import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Duplex } from 'node:stream';
import type pg from 'pg';
import replication from 'pg-logical-replication';
import { AppError, type ErrorCode } from '../core/errors.ts';
import { LSN_ZERO, type Lsn, parseLsn } from '../core/lsn.ts';
import { addressOf, clientConfig, type Sql } from './client.ts';
import { type EventQueue, createEventQueue } from './event-queue.ts';
import { postgresFailure, sqlStateOf } from './failures.ts';
import { type Liveness, createLiveness } from './liveness.ts';
import { type PgoutputMessage, createDecoder } from './pgoutput.ts';
import { quoteIdentifier, quoteLiteral } from './sql.ts';
import { standbyStatus } from './standby-status.ts';

export type StreamEvent =
  | {
      readonly type: 'message';
      /** Where its WAL record starts: of a change, its own LSN. */
      readonly lsn: Lsn;
      readonly message: PgoutputMessage;
      readonly bytes: number;
    }
  /** PostgreSQL has read its WAL up to `walEnd` and has sent all there is for us. */
  | { readonly type: 'keepalive'; readonly walEnd: Lsn };

export interface ReplicationStream extends AsyncIterable<readonly StreamEvent[]> {
  /** Everything up to here is durable. Ignored where it does not move on, and after a failure. */
  acknowledge(lsn: Lsn): void;
  /** Process id of our walsender. */
  readonly backendPid: number;
  /** After this time without hearing from us PostgreSQL gives the slot to another. */
  readonly walSenderTimeoutMs: number;
  /** How long ago PostgreSQL was certainly there; grows under back-pressure, when its answers wait unread. */
  heardAgoMs(): number;
  /** Asks PostgreSQL on another connection whether the slot is still ours; if it is not, the stream has failed. */
  confirm(sql: Sql): Promise<void>;
  /** Tells PostgreSQL the last acknowledged LSN, gives the slot back, ends the connection. Never rejects. */
  close(): Promise<void>;
}

export interface StreamOptions {
  readonly connectionString: string;
  readonly slot: string;
  readonly publication: string;
  /** The queue's bound; a reader holds as much again. */
  readonly highWaterBytes?: number;
}

const HIGH_WATER_BYTES = 4 * 1024 * 1024;
const MAX_STATUS_INTERVAL_MS = 10_000;
/** Where wal_sender_timeout is off, PostgreSQL waits for ever; we do not. */
const DEFAULT_TIMEOUT_MS = 60_000;
const CLOSE_TIMEOUT_MS = 1_000;

/**
 * Opens the stream of a slot. `signal` ends the opening, and later the reading: the reader is told that it is done,
 * while acknowledging goes on until `close`.
 * Throws AppError SLOT_ACTIVE, POSTGRES_SLOT_INVALID, POSTGRES_* or the signal's reason.
 */
export async function openStream(options: StreamOptions, signal: AbortSignal): Promise<ReplicationStream> {
  signal.throwIfAborted();
  const stream = new Stream(options, signal);
  try {
    await stream.open();
    signal.throwIfAborted();
    return stream;
  } catch (error) {
    await stream.close();
    signal.throwIfAborted();
    throw error;
  }
}

/** What pg's connection can do while it copies; not in its types. */
interface CopyConnection {
  readonly stream: Duplex;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}

interface Decoded {
  readonly message: PgoutputMessage;
  readonly bytes: number;
}

class Stream implements ReplicationStream {
  readonly #options: StreamOptions;
  readonly #signal: AbortSignal;
  readonly #address: string;
  readonly #service: replication.LogicalReplicationService;
  readonly #queue: EventQueue<StreamEvent>;
  readonly #decode = createDecoder();
  readonly #socket = new Socket();
  #connection: CopyConnection | undefined;
  #state: 'opening' | 'streaming' | 'closing' = 'opening';
  #failure: AppError | undefined;
  /** Settles when PostgreSQL has ended the stream, or the connection. Never rejects. */
  #ended: Promise<void> = Promise.resolve();

  #acknowledged = LSN_ZERO;
  #paused = false;
  #liveness: Liveness = createLiveness(Date.now());
  #statusTimer: NodeJS.Timeout | undefined;
  #silentIntervals = 0;
  #backend = { pid: 0, startedAt: '', walSenderTimeoutMs: DEFAULT_TIMEOUT_MS };

  constructor(options: StreamOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.#address = addressOf(options.connectionString);
    this.#queue = createEventQueue({
      highWaterBytes: options.highWaterBytes ?? HIGH_WATER_BYTES,
      onFull: () => {
        this.#pause();
      },
      onEmptied: () => {
        this.#resume();
      },
    });
    this.#service = new replication.LogicalReplicationService(
      { ...clientConfig(options.connectionString), stream: () => this.#socket },
      // With a timeout the library's timer would acknowledge the last LSN received, durable or not.
      { acknowledge: { auto: false, timeoutSeconds: 0 } },
    );
  }

  async open(): Promise<void> {
    this.#signal.addEventListener('abort', this.#stopReading);
    const service = this.#service;
    await new Promise<void>((resolve, reject) => {
      service.on('start', resolve);
      service.on('data', (walStart: string, decoded: Decoded | null) => {
        if (decoded !== null) this.#onMessage(parseLsn(walStart), decoded);
      });
      service.on('heartbeat', (walEnd, sentAtMs, replyRequested) => {
        this.#onKeepalive(parseLsn(walEnd), sentAtMs, replyRequested);
      });
      const fail = (error: unknown) => {
        this.#fail(error);
        reject(this.#describe(error));
      };
      service.on('error', fail);
      const { slot } = this.#options;
      // 0/0, not the library's memory of the last LSN received: the slot knows better.
      this.#ended = service
        .subscribe({ name: 'pgoutput', options: {}, start: this.#start, parse: this.#parse }, slot, '0/0')
        .then(() => {
          fail(new AppError('STREAM_LOST', `PostgreSQL at ${this.#address} ended the stream.`));
        }, fail);
    });
    this.#state = 'streaming';
    const interval = Math.min(this.walSenderTimeoutMs / 3, MAX_STATUS_INTERVAL_MS);
    const patience = Math.ceil(this.walSenderTimeoutMs / interval);
    this.#statusTimer = setInterval(() => {
      this.#onStatusDue(patience);
    }, interval);
    this.#sendStatus(true);
  }

  get backendPid(): number {
    return this.#backend.pid;
  }

  get walSenderTimeoutMs(): number {
    return this.#backend.walSenderTimeoutMs;
  }

  [Symbol.asyncIterator](): AsyncIterator<readonly StreamEvent[]> {
    return this.#queue[Symbol.asyncIterator]();
  }

  acknowledge(lsn: Lsn): void {
    if (lsn <= this.#acknowledged) return;
    this.#acknowledged = lsn;
    this.#sendStatus(false);
  }

  heardAgoMs(): number {
    return this.#liveness.agoMs(Date.now());
  }

  async confirm(sql: Sql): Promise<void> {
    const askedAtMs = Date.now();
    const { pid, startedAt } = this.#backend;
    const rows = await sql.query(
      `select from pg_catalog.pg_replication_slots s
         join pg_catalog.pg_stat_activity a on a.pid = s.active_pid
        where s.slot_name = $1 and a.pid = $2 and a.backend_start::text = $3`,
      [this.#options.slot, pid, startedAt],
    );
    if (rows.length === 0)
      this.#fail(new AppError('STREAM_LOST', `The slot is no longer held by this stream.`));
    if (this.#failure !== undefined) throw this.#failure;
    this.#liveness.confirmed(askedAtMs);
  }

  async close(): Promise<void> {
    if (this.#state === 'closing') return;
    const wasStreaming = this.#state === 'streaming';
    this.#state = 'closing';
    this.#signal.removeEventListener('abort', this.#stopReading);
    clearInterval(this.#statusTimer);
    this.#queue.finish();
    if (wasStreaming) {
      // In good order, so that the slot is free once this resolves: status, end of copy, then read until it is over.
      this.#sendStatus(false);
      this.#connection?.endCopyFrom();
      this.#connection?.stream.resume();
      await Promise.race([this.#ended, delay(CLOSE_TIMEOUT_MS, undefined, { ref: false })]);
    }
    this.#socket.destroy();
    await this.#service.destroy().catch(() => undefined);
  }

  /** The reader is done; before the stream is open, so is the opening. */
  readonly #stopReading = (): void => {
    this.#queue.finish();
    if (this.#state === 'opening') this.#socket.destroy();
  };

  /** The library's plugin: starts the stream on the connection that the library made. */
  readonly #start = async (client: pg.Client, slot: string, from: string): Promise<unknown> => {
    this.#connection = (client as unknown as { readonly connection: CopyConnection }).connection;
    const { rows } = await client.query<{ pid: number; started_at: string; timeout_ms: string }>(
      `select pid, backend_start::text as started_at, 
              (select setting from pg_catalog.pg_settings where name = 'wal_sender_timeout') as timeout_ms
         from pg_catalog.pg_stat_activity where pid = pg_catalog.pg_backend_pid()`,
    );
    const [row] = rows;
    if (row !== undefined) {
      const walSenderTimeoutMs = Number(row.timeout_ms) || DEFAULT_TIMEOUT_MS;
      this.#backend = { pid: row.pid, startedAt: row.started_at, walSenderTimeoutMs };
    }
    const publications = quoteLiteral(quoteIdentifier(this.#options.publication));
    return client.query(
      `START_REPLICATION SLOT ${quoteIdentifier(slot)} LOGICAL ${from} ` +
        `(proto_version '1', publication_names ${publications}, messages 'true')`,
    );
  };

  /** The library's plugin. Decodes at once: pg overwrites the bytes. Must not throw: the library would not catch it. */
  readonly #parse = (bytes: Buffer): Decoded | null => {
    if (this.#isOver) return null;
    try {
      return { message: this.#decode(bytes), bytes: bytes.length };
    } catch (error) {
      this.#fail(error);
      return null;
    }
  };

  #onMessage(lsn: Lsn, { message, bytes }: Decoded): void {
    this.#silentIntervals = 0;
    this.#queue.push({ type: 'message', lsn, message, bytes }, bytes);
  }

  #onKeepalive(walEnd: Lsn, sentAtMs: number, replyRequested: boolean): void {
    this.#silentIntervals = 0;
    this.#liveness.heard(sentAtMs, Date.now());
    this.#queue.push({ type: 'keepalive', walEnd }, 0);
    if (replyRequested) this.#sendStatus(false);
  }

  #onStatusDue(patience: number): void {
    // A socket that we do not read says nothing about PostgreSQL.
    this.#silentIntervals = this.#paused ? 0 : this.#silentIntervals + 1;
    if (this.#silentIntervals > patience) {
      const silent = `PostgreSQL at ${this.#address} has been silent for ${this.walSenderTimeoutMs} ms.`;
      this.#fail(new AppError('STREAM_LOST', silent));
    }
    this.#sendStatus(true);
  }

  #sendStatus(replyRequested: boolean): void {
    if (this.#failure !== undefined) return;
    this.#connection?.sendCopyFromChunk(standbyStatus(this.#acknowledged, Date.now(), replyRequested));
  }

  #pause(): void {
    this.#paused = true;
    this.#connection?.stream.pause();
  }

  #resume(): void {
    this.#paused = false;
    this.#connection?.stream.resume();
  }

  get #isOver(): boolean {
    return this.#failure !== undefined || this.#state === 'closing';
  }

  #fail(error: unknown): void {
    if (this.#isOver) return;
    this.#failure = this.#describe(error);
    clearInterval(this.#statusTimer);
    this.#queue.fail(this.#failure);
    this.#socket.destroy();
  }

  #describe(error: unknown): AppError {
    const sqlState = sqlStateOf(error);
    const failure = postgresFailure(error, this.#address);
    const { slot, publication } = this.#options;
    const as = (code: ErrorCode, message: string) =>
      new AppError(code, message, { cause: error, context: { slot, sqlState, address: this.#address } });
    if (sqlState === '58P01')
      return as('POSTGRES_SLOT_INVALID', `The WAL that the slot ${slot} needs is gone.`);
    if (this.#state === 'opening') {
      if (sqlState === '55006') return as('SLOT_ACTIVE', `The slot ${slot} is in use.`);
      if (sqlState === '42704') return as('POSTGRES_SLOT_INVALID', `The slot ${slot} does not exist.`);
      if (sqlState === '55000') return as('POSTGRES_SLOT_INVALID', `The slot ${slot} cannot be read.`);
      return failure;
    }
    if (sqlState === '42704')
      return as('SOURCE_CHANGED', `The publication ${publication} does not exist any more.`);
    return failure.code === 'POSTGRES_UNREACHABLE'
      ? as('STREAM_LOST', `The connection to PostgreSQL at ${this.#address} was lost.`)
      : failure;
  }
}
