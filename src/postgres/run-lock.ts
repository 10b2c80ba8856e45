/**
 * One run at a time, whoever starts it and wherever: an advisory lock that ends with the connection that holds it. That
 * connection is idle, which no setting of the server may end; if it is lost all the same, the run is told, and must end.
 */
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

const NEVER_IDLE = '-c idle_session_timeout=0';

/**
 * `what` runs once for each `of`; `by`: who runs it. Throws ALREADY_RUNNING, naming who does. `onLost` is called once,
 * with LOCK_LOST, if the lock ends before it is released.
 */
export async function lockRun(
  connectionString: string,
  what: string,
  of: string,
  onLost: (error: AppError) => void,
  by = what,
): Promise<RunLock> {
  const config = clientConfig(connectionString);
  const client = new pg.Client({
    ...config,
    options: `${config.options ?? ''} ${NEVER_IDLE}`,
    application_name: `${by} of process ${process.pid} on ${hostname()}`.slice(0, 63),
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ locked: boolean }>(TRY, [what, of]);
    if (rows[0]?.locked === true) {
      const lost = () => {
        const message = `The connection to PostgreSQL at ${addressOf(connectionString)} that keeps other runs of ${what} out is lost.`;
        onLost(new AppError('LOCK_LOST', message));
      };
      client.once('end', lost);
      return {
        async release() {
          client.off('end', lost);
          await client.end();
        },
      };
    }
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
