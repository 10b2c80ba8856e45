import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ACTIONS, type Action, type Op } from '../../src/sample/actions.ts';
import { load } from '../../src/sample/load.ts';
import { createTables, REPLICATED_TABLES, type ReplicatedTable } from '../../src/sample/tables.ts';
import { runWorkload, type WorkloadCounts, type WorkloadEvent } from '../../src/sample/workload.ts';
import { hashPostgres } from '../support/canonical-postgres.ts';
import { createSampleDatabase, type SampleDatabase } from '../support/sample-database.ts';

let database: SampleDatabase;
beforeAll(async () => {
  database = await createSampleDatabase('sample_workload');
  await load(database.client, { seed: 2, entities: 500 });
  // A witness of its own: every row written, as it was and as it is.
  await database.client.query(`
    create table witness (op text, name text, old jsonb, new jsonb);
    create function witness() returns trigger language plpgsql as $$
      begin
        insert into witness values (lower(tg_op), tg_table_name, to_jsonb(old), to_jsonb(new));
        return null;
      end $$;`);
  for (const table of REPLICATED_TABLES) {
    await database.client.query(
      `create trigger witness after insert or update or delete on ${table} for each row execute function witness()`,
    );
  }
});
afterAll(() => database.dispose());

/** Only this, but for what the action needs to find something to act on. */
function only(action: Action): Record<Action, number> {
  const actions = Object.keys(ACTIONS) as Action[];
  return Object.fromEntries(actions.map((name) => [name, name === action ? 1 : 0])) as Record<Action, number>;
}

describe('the workload', () => {
  it('writes at the rate it was asked for, evenly, and counts what it wrote', async () => {
    const events: WorkloadEvent[] = [];
    const startMs = Date.now();
    const counts = await runWorkload(database.pool, { rate: 200, durationMs: 3_000, seed: 1 }, (event) => {
      events.push(event);
    });
    expect(counts.changes).toBeGreaterThan(350);
    expect(counts.changes).toBeLessThan(750);
    expect(events.reduce((sum, { changes }) => sum + changes, 0)).toBe(counts.changes);
    expect(events.some(({ actions }) => actions.length === 1)).toBe(true);
    expect(events.some(({ actions }) => actions.length > 1)).toBe(true);
    for (const half of [0, 1]) {
      const changes = events
        .filter(({ committedAtMs }) => Math.floor((committedAtMs - startMs) / 1_500) === half)
        .reduce((sum, event) => sum + event.changes, 0);
      expect(changes).toBeGreaterThan(100);
    }
    expect(await witnessed()).toEqual(counts.rows);
  });

  it('does every kind of change', async () => {
    const EACH = 3;
    const AT_LEAST_MS = 2_500;
    const startedAt = performance.now();
    const done = new Map(Object.keys(ACTIONS).map((action) => [action, 0]));
    const all = new AbortController();
    // As long as it takes, on whatever machine.
    const counts = await runWorkload(
      database.pool,
      { rate: 5_000, durationMs: 50_000, seed: 3, connections: 2, signal: all.signal },
      ({ actions }) => {
        for (const action of actions) done.set(action, (done.get(action) ?? 0) + 1);
        const enough = performance.now() - startedAt > AT_LEAST_MS;
        if (enough && Math.min(...done.values()) >= EACH) all.abort();
      },
    );
    expect([...done].filter(([, times]) => times < EACH)).toEqual([]);
    expect(counts.noise).toBeGreaterThan(0);
    expect(await database.value<number>(`select count(*)::int from blob`)).toBeGreaterThanOrEqual(
      counts.noise,
    );
    for (const [table, rows] of Object.entries(counts.rows)) {
      expect(rows.insert, table).toBeGreaterThan(0);
      expect(rows.update, table).toBeGreaterThan(0);
      if (table !== 'extract') expect(rows.delete, table).toBeGreaterThan(0);
    }
  });

  it('starts from nothing, too', async () => {
    await createTables(database.client, 'empty');
    const counts = await runWorkload(database.pool, {
      rate: 400,
      durationMs: 1_000,
      seed: 1,
      schema: 'empty',
    });
    expect(counts.rows.entity.insert).toBeGreaterThan(10);
    expect(counts.rows.relation.insert).toBeGreaterThan(0);
  });

  it.each<Action>(['edit', 'touch', 'burst', 'retype', 'move', 'classify', 'relink'])(
    '%s moves last_updated_at, also where that was in the future',
    async (action) => {
      const { client } = database;
      for (const table of REPLICATED_TABLES) {
        await client.query(
          `update ${table} set last_updated_at = '2999-01-01' where created_at > '2021-06-01'`,
        );
      }
      await client.query('truncate witness');
      const counts = await runWorkload(database.pool, {
        rate: 300,
        durationMs: 300,
        seed: 9,
        mix: only(action),
      });
      const { rows } = await client.query<{ op: string; moved: boolean; future: boolean }>(
        `select op, (new->>'last_updated_at')::timestamptz > (old->>'last_updated_at')::timestamptz as moved,
           (old->>'last_updated_at')::timestamptz > now() as future
         from witness`,
      );
      expect(counts.changes).toBeGreaterThan(0);
      expect(rows.length).toBe(counts.changes);
      expect(rows.every(({ op, moved }) => op === 'update' && moved)).toBe(true);
      expect(rows.some(({ future }) => future)).toBe(true);
    },
  );

  it('touches meta alone in a re-ingestion, so that a long description stays where it is', async () => {
    const chunks = `select string_agg(pg_column_toast_chunk_id(data)::text, ',' order by id) from entity`;
    const before = await database.value(chunks);
    const counts = await runWorkload(database.pool, {
      rate: 2_000,
      durationMs: 500,
      seed: 9,
      mix: only('touch'),
    });
    expect(counts.rows.entity.update).toBeGreaterThan(50);
    expect(before).toMatch(/^\d+(,\d+)+$/);
    expect(await database.value(chunks)).toBe(before);
  });

  it('stops at once when told, with whole transactions', async () => {
    const stop = new AbortController();
    const before = await hashPostgres(database.pool);
    const counts = await runWorkload(
      database.pool,
      { rate: 100, durationMs: 60_000, seed: 4, signal: stop.signal, mix: only('create') },
      () => {
        stop.abort();
      },
    );
    expect(counts.elapsedMs).toBeLessThan(5_000);
    expect(counts.transactions).toBeLessThanOrEqual(4);
    expect((await hashPostgres(database.pool)).lines.length - before.lines.length).toBe(counts.changes);
  });

  it('fails with the error of the first statement that fails, and stops all connections', async () => {
    const { client } = database;
    await client.query(`alter table extract add constraint closed check (id is null) not valid`);
    const started = performance.now();
    await expect(
      runWorkload(database.pool, { rate: 100, durationMs: 60_000, seed: 4, mix: { extract: 10_000 } }),
    ).rejects.toMatchObject({ code: '23514' });
    expect(performance.now() - started).toBeLessThan(5_000);
    await client.query(`alter table extract drop constraint closed`);
  });
});

async function witnessed(): Promise<WorkloadCounts['rows']> {
  const none = { insert: 0, update: 0, delete: 0 };
  const counts = {
    entity: { ...none },
    relation: { ...none },
    extract: { ...none },
    entity_extract: { ...none },
  };
  const { rows } = await database.client.query<{ op: Op; name: ReplicatedTable; count: number }>(
    `select op, name, count(*)::int from witness group by op, name`,
  );
  for (const { op, name, count } of rows) counts[name][op] = count;
  return counts;
}
