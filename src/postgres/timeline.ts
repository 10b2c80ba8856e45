/**
 * Where a timeline ended: a promotion, or a restore to a point in time, begins another, and PostgreSQL keeps the point
 * at which each of its ancestors was left. Asked on a replication connection: reading the file takes more privileges.
 */
import pg from 'pg';
import { type Lsn, parseLsn } from '../core/lsn.ts';
import { addressOf, clientConfig } from './client.ts';
import { postgresFailure } from './failures.ts';

/** Where the history of `present` left `past`; null if `past` is not among its ancestors. */
export async function timelineEnd(
  connectionString: string,
  { past, present }: { readonly past: number; readonly present: number },
  signal: AbortSignal,
): Promise<Lsn | null> {
  if (past >= present) return null;
  signal.throwIfAborted();
  const client = new pg.Client({
    ...clientConfig(connectionString),
    replication: 'database',
  } as pg.ClientConfig);
  client.on('error', () => undefined); // the query's rejection tells
  const onAbort = () => void client.end().catch(() => undefined);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await client.connect();
    const { rows } = await client.query<{ content: string }>(`TIMELINE_HISTORY ${present}`);
    return parseTimelineHistory(rows[0]?.content ?? '').get(past) ?? null;
  } catch (error) {
    signal.throwIfAborted();
    throw postgresFailure(error, addressOf(connectionString));
  } finally {
    signal.removeEventListener('abort', onAbort);
    await client.end().catch(() => undefined);
  }
}

/** Lines of `timeline <tab> LSN <tab> reason`; what else there is are comments. */
export function parseTimelineHistory(content: string): ReadonlyMap<number, Lsn> {
  const ends = new Map<number, Lsn>();
  for (const line of content.split('\n')) {
    const [, timeline, lsn] = /^\s*(\d+)\s+([0-9A-Fa-f]+\/[0-9A-Fa-f]+)(\s|$)/.exec(line) ?? [];
    if (timeline !== undefined && lsn !== undefined) ends.set(Number(timeline), parseLsn(lsn));
  }
  return ends;
}
