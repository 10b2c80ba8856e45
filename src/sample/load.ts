/**
 * Carries out the generator's steps on the tables, in transactions of some thousand rows.
 * Nothing is retried: a failed load leaves whole transactions behind; drop the tables and start over.
 */
import type { ClientBase } from 'pg';
import { type GenerateOptions, generate, type Step } from './generator.ts';
import { deleteRows, insertRows, touchEntities } from './rows.ts';

export interface LoadOptions extends GenerateOptions {
  readonly schema?: string;
  /** A transaction is committed as soon as it has written this many rows. Default 10,000. */
  readonly rowsPerTransaction?: number;
  readonly signal?: AbortSignal;
}

export interface LoadProgress {
  readonly inserted: number;
  readonly touched: number;
  readonly deleted: number;
  /** Of the entities asked for, how much is done: 0 to 1. */
  readonly done: number;
}

/** `onProgress` is called after each transaction. Aborted, it rejects with the signal's reason, nothing half done. */
export async function load(
  client: ClientBase,
  options: LoadOptions,
  onProgress: (progress: LoadProgress) => void = () => undefined,
): Promise<LoadProgress> {
  const { schema = 'public', rowsPerTransaction = 10_000, signal } = options;
  const rows = { insert: 0, touch: 0, delete: 0 };
  let entities = 0;
  const transaction = { open: false, rows: 0 };

  const progress = (): LoadProgress => ({
    inserted: rows.insert,
    touched: rows.touch,
    deleted: rows.delete,
    done: options.entities === 0 ? 1 : Math.min(1, entities / options.entities),
  });
  const apply = async (step: Step): Promise<void> => {
    if (step.rows.length === 0) return;
    signal?.throwIfAborted();
    if (!transaction.open) await client.query('begin');
    transaction.open = true;
    const written = await carryOut(client, schema, step);
    rows[step.op] += written;
    transaction.rows += written;
    if (step.op === 'insert' && step.table === 'entity') entities += written;
    if (transaction.rows >= rowsPerTransaction) await commit();
  };
  const commit = async (): Promise<void> => {
    await client.query('commit');
    transaction.open = false;
    transaction.rows = 0;
    onProgress(progress());
  };

  try {
    let applied = Promise.resolve();
    for (const step of generate(options)) {
      // The step was generated while PostgreSQL worked on the one before.
      await applied;
      applied = apply(step);
    }
    await applied;
    if (transaction.open) await commit();
  } catch (error) {
    if (transaction.open) await client.query('rollback').catch(() => undefined);
    throw error;
  }
  return progress();
}

function carryOut(client: ClientBase, schema: string, step: Step): Promise<number> {
  switch (step.op) {
    case 'insert':
      return insertRows(client, schema, step.table, step.rows);
    case 'touch':
      return touchEntities(client, schema, step.rows);
    case 'delete':
      return deleteRows(client, schema, step.table, step.rows);
  }
}
