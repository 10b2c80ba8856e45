/**
 * The repair of sync-data --direct (design §6), for when there is no stream:
 *
 *   keys ─▶ ask the stream, for its topics ─▶ where they stand in the graph ─▶ the stream is still away ─▶ their rows ─▶ write
 *
 * Guarantee: nothing that the stream has written since, or writes later, is lost or undone. Positions that are read
 * before progress is seen unmoved are those of the confirmation; a key that moves after that is not written (compare
 * and set); and what is written keeps its position, below all that the stream has still to bring.
 * On failure: what may pass is tried again; a row that the graph refuses is left, and told of.
 */
import { rowEncoder, type WireRow } from '../../core/envelope.ts';
import { AppError, dispositionOf, isAppError } from '../../core/errors.ts';
import type { KeyedMutation } from '../../core/graph.ts';
import { keyJson, type KeyParts } from '../../core/keys.ts';
import type { TableMapping } from '../../core/mapping.ts';
import type { RepublishRequest } from '../../core/messages.ts';
import { LOWEST_POSITION } from '../../core/position.ts';
import { project } from '../../core/projection.ts';
import { absentKeys, keyRequests, readingOf, restOfKeys } from '../../core/republish.ts';
import type { DirectWriter } from '../../neo4j/direct-writer.ts';
import type { RowReader, RowsRead } from '../../postgres/rows.ts';
import { mayRetry, retry } from '../../runtime/retry.ts';
import type { Mend } from './ask.ts';

export interface DirectOptions {
  readonly rows: Pick<RowReader, 'keys'>;
  readonly writer: DirectWriter;
  /** Throws STREAM_RUNNING. */
  readonly requireStill: () => Promise<void>;
  /** null: there is no stream to ask. */
  readonly ask: Mend | null;
  /** A row that cannot be written; `key` tells it from others of the table. */
  readonly onRefused: (table: TableMapping, key: string, error: AppError) => void;
}

/** How often what fails beside another transaction is tried again. */
const ATTEMPTS = 5;

export function directly({ rows, writer, requireStill, ask, onRefused }: DirectOptions): Mend {
  /** Answers a request as the publisher and the projector would; resolves to what is left of it. */
  async function answer(
    request: RepublishRequest,
    table: TableMapping,
    signal: AbortSignal,
  ): Promise<RepublishRequest | null> {
    const reading = readingOf(request, table);
    if (reading?.kind !== 'keys') throw new RangeError('the request is one of keys');
    const { keys, listed } = reading;
    const named = [...listed, ...keys].map((key) => removal(table, key));
    const positions = await patiently(() => writer.positions(named), signal);
    await requireStill();
    const found = await rows.keys(table, keys, signal);
    if (found === null) throw new AppError('POSTGRES_FAILED', `The table ${table.table} is locked.`);
    const { absent, unread } = absentKeys(table, listed, found.keys, found.more);
    const mutations = [
      ...rowsOf(found, table).flatMap((row) => upsert(table, row)),
      ...absent.map((key) => removal(table, key)),
    ];
    await write(
      table,
      mutations.map((m) => ({ ...m, position: positions.get(m.key) ?? LOWEST_POSITION })),
      signal,
    );
    return restOfKeys(request, unread);
  }

  function upsert(table: TableMapping, row: WireRow): KeyedMutation[] {
    try {
      return [mutationOf(table, 'r', row)];
    } catch (error) {
      if (!isAppError(error, 'RECORD_MALFORMED')) throw error;
      onRefused(table, JSON.stringify(table.key.map(({ name }) => row[name])), error);
      return [];
    }
  }

  /** Halves what the graph refuses until a single row is left. */
  async function write(
    table: TableMapping,
    mutations: readonly KeyedMutation[],
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await patiently(() => writer.apply(mutations), signal);
    } catch (error) {
      if (!(error instanceof AppError) || dispositionOf(error) !== 'dead-letter') throw error;
      const [one, ...others] = mutations;
      if (one !== undefined && others.length === 0) {
        onRefused(table, String(one.key), error);
        return;
      }
      const half = mutations.length >> 1;
      await write(table, mutations.slice(0, half), signal);
      await write(table, mutations.slice(half), signal);
    }
  }

  return async (table, keys, signal) => {
    await ask?.(table, keys, signal);
    for (const request of keyRequests(table, keys, { runId: 'direct', reason: 'sync-data' }))
      for (let left: RepublishRequest | null = request; left !== null;)
        left = await answer(left, table, signal);
  };
}

function patiently<T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T> {
  return retry(attempt, {
    signal,
    again: (error, n) => n < ATTEMPTS && (mayRetry(error) || error.code === 'NEO4J_CONSTRAINT'),
  });
}

/** As a record of theirs would carry them. */
function rowsOf({ relation, rows }: RowsRead, { key }: TableMapping): WireRow[] {
  if (relation === null) return [];
  const encoder = rowEncoder(
    relation,
    key.map(({ name }) => name),
  );
  return rows.map((tuple) => JSON.parse(encoder.row(tuple)) as WireRow);
}

function removal(table: TableMapping, key: KeyParts): KeyedMutation {
  return mutationOf(table, 'd', JSON.parse(keyJson(table.key, key)) as WireRow);
}

/** Not yet at its position. */
function mutationOf(mapping: TableMapping, op: 'r' | 'd', row: WireRow): KeyedMutation {
  const [before, after] = op === 'd' ? [row, null] : [null, row];
  const { mutation } = project(
    { table: mapping.table, op, position: LOWEST_POSITION, before, after },
    mapping,
  );
  if (mutation.kind === 'truncate') throw new RangeError('the record is of a row');
  return mutation;
}
