/** One run at a time, whoever starts it and wherever: an advisory lock that ends with the connection that holds it. */
import { hostname } from 'node:os';
import pg from 'pg';
import { AppError } from '../core/errors.ts';
import { addressOf, clientConfig } from './client.ts';
import { postgresFailure } from './failures.ts';

export interface RunLock {
  readonly release: () => Promise<void>;
}

/** A replay, and what must not write beside one. */
export const REPLAY = 'graph replay';
/** A run that repairs the graph in use, and what must not be repaired meanwhile. */
export const REPAIR = 'graph sync-data';

const TRY = 'select pg_try_advisory_lock(hashtext($1), hashtext($2)) as locked';
const HOLDER = `select a.application_name as name, a.backend_start::text as since
  from pg_locks l join pg_stat_activity a using (pid)
  where l.locktype = 'advisory' and l.granted and l.database = (select oid from pg_database where datname = current_database())
    and l.classid = hashtext($1)::bigint & 4294967295 and l.objid = hashtext($2)::bigint & 4294967295`;

/** `what` runs once for each `of`; `by`: who runs it. Throws ALREADY_RUNNING, naming who does. */
export async function lockRun(
  connectionString: string,
  what: string,
  of: string,
  by = what,
): Promise<RunLock> {
  const client = new pg.Client({
    ...clientConfig(connectionString),
    application_name: `${by} of process ${process.pid} on ${hostname()}`.slice(0, 63),
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ locked: boolean }>(TRY, [what, of]);
    if (rows[0]?.locked === true) return { release: () => client.end() };
    const holder = await client.query<{ name: string; since: string }>(HOLDER, [what, of]);
    const [other] = holder.rows;
    throw new AppError(
      'ALREADY_RUNNING',
      `Another run is at work: ${other?.name ?? 'it has just ended'}${other === undefined ? '' : `, connected since ${other.since}`}.`,
    );
  } catch (error) {
    await client.end().catch(() => undefined);
    throw error instanceof AppError ? error : postgresFailure(error, addressOf(connectionString));
  }
}
