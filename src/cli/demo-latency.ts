/** From commit to visible, as a reader of the graph sees it: probe rows, each looked for until it is there. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Driver } from 'neo4j-driver';
import type pg from 'pg';

const EVERY_MS = 100;

export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly samples: number;
}

export async function measureLatency(
  sql: pg.Pool,
  driver: Driver,
  durationMs: number,
  signal: AbortSignal,
): Promise<Latency> {
  const session = driver.session({ defaultAccessMode: 'READ' });
  const samples: number[] = [];
  const until = performance.now() + durationMs;
  try {
    while (performance.now() < until) {
      signal.throwIfAborted();
      const id = randomUUID();
      await sql.query(
        `insert into public.entity (id, type, data, created_at, last_updated_at)
         values ($1, 'report', '{"title": "Latency probe"}', now(), now())`,
        [id],
      );
      const committed = performance.now();
      while (!(await visible(id))) await delay(1, undefined, { signal });
      samples.push(performance.now() - committed);
      await delay(EVERY_MS, undefined, { signal });
    }
  } finally {
    await session.close();
  }
  samples.sort((a, b) => a - b);
  const at = (share: number) =>
    samples[Math.min(samples.length - 1, Math.floor(samples.length * share))] ?? NaN;
  return { p50: at(0.5), p99: at(0.99), samples: samples.length };

  async function visible(id: string): Promise<boolean> {
    const { records } = await session.run('MATCH (n:Entity {id: $id}) WHERE n.type IS NOT NULL RETURN 1', {
      id,
    });
    return records.length > 0;
  }
}
