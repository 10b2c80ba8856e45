/** `graph sync-data` beside live traffic: what is on its way is no drift. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { fill } from '../support/fill.ts';
import {
  CHANGES_PER_SECOND,
  createPlatform,
  eventually,
  type Platform,
  underLoad,
} from '../support/platform.ts';
import { soak } from '../support/soak.ts';

const RUNS = soak ? 5 : 3;
const REPAIRS = soak ? 5 : 3;
const LAST_AT_LEAST_MS = soak ? 120_000 : 0;
if (soak) vi.setConfig({ testTimeout: 900_000 });
const BUSY = '00000000-0000-4000-8000-000000000001';
const RATE = soak ? 500 : CHANGES_PER_SECOND;
/** Of nodes, each time in each way. */
const HARMED = 10;

let platform: Platform;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'reports-'));
  platform = await createPlatform('live');
  await fill(platform.sql, { seed: 3, entities: 200 });
  await platform.start(['replicate']).logged(/streaming/);
  await platform.expectEqual();
});
afterAll(async () => {
  await platform.dispose();
  rmSync(folder, { recursive: true });
});

it.each([
  ['of timestamps', [], {}],
  [
    'of the content of everything',
    ['--deep', '--whole-graph', '--print-diffs'],
    { diffs: {}, entity_ids_different: [], n_different: 0 },
  ],
])(
  'dry runs %s report no drift, nothing unconfirmed, however much and how often rows change',
  async (_, compared, more) => {
    const reports: Record<string, unknown>[] = [];
    const took: number[] = [];
    const stop = new AbortController();
    await underFullLoad(async () => {
      const busy = touchOften(stop.signal);
      try {
        await keptUp();
        const enough = performance.now() + LAST_AT_LEAST_MS;
        for (let run = 0; run < RUNS || performance.now() < enough; run++) {
          const file = join(folder, `${run}.json`);
          // One of timestamps at the pace that is kept without options: of everything, that takes long.
          const rests = run === 0 && compared.length === 0;
          const how = ['--dry-run', '--batch-size', '100', ...(rests ? [] : ['--full-speed']), ...compared];
          const args = ['sync-data', '--check-results-file', file, ...how];
          const startedAt = performance.now();
          const { code, stderr } = await platform.run(args, { LOG_LEVEL: 'info' });
          expect(code, stderr).toBe(0);
          expect(stderr.includes('the scan rests')).toBe(rests);
          const ms = Math.round(performance.now() - startedAt);
          took.push(ms);
          // The row that changes all the time is settled long before --max-wait, on a machine that keeps up.
          if (!soak) expect(ms).toBeLessThan(45_000);
          reports.push(JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>);
        }
      } finally {
        stop.abort();
        await busy;
      }
    });
    console.log(`dry runs took ${took.join(', ')} ms`);
    for (const report of reports) {
      const { n_ok: ok, whole_graph: whole, ...rest } = report;
      expect(ok).toBeGreaterThan(0);
      if (compared.length > 0) expectRight(whole);
      expect(rest).toEqual({
        entity_ids_to_delete: [],
        entity_ids_to_reindex: [],
        n_missing: 0,
        n_not_deleted: 0,
        n_outdated: 0,
        n_strange: 0,
        ...more,
      });
    }
    await platform.expectEqual();
  },
);

/** A Neo4j that has just started is behind for a while, and so is whoever waits for it. */
const keptUp = () =>
  eventually(
    'the graph keeps up with the load',
    async () => {
      const startedAt = performance.now();
      const { code } = await platform.run(['wait']);
      return code === 0 && performance.now() - startedAt < 3000;
    },
    180_000,
  );

function expectRight(section: unknown): void {
  const { stubs, ...tables } = section as Record<string, Record<string, unknown>>;
  expect(stubs).toEqual({ n_idle_stubs: 0 });
  expect(Object.keys(tables)).toEqual(['public.entity_extract', 'public.extract', 'public.relation']);
  for (const { n_ok: ok, ...rest } of Object.values(tables)) {
    expect(ok).toBeGreaterThan(0);
    expect(rest).toEqual({
      keys_to_delete: [],
      keys_to_reindex: [],
      n_missing: 0,
      n_not_deleted: 0,
      n_outdated: 0,
      n_unconfirmed: 0,
      n_unnamed: 0,
    });
  }
}

/** Damages some nodes that never were; resolves to when the row of each was last updated (in microseconds), as the graph had it. */
async function damage(
  before: ReadonlySet<string>,
): Promise<{ readonly damaged: ReadonlyMap<string, bigint>; readonly deleted: readonly string[] }> {
  const entity = platform.names.labels.entity;
  const damaged = new Map<string, bigint>();
  // A stub that loses its last relation would be one that nothing holds.
  const harm = async (how: string) => {
    const nodes = await platform.cypher(
      `MATCH (n:${entity}) WHERE n.type IS NOT NULL AND NOT n.id IN $before AND NOT EXISTS { (n)--(:Stub) }
       WITH n LIMIT ${HARMED} WITH n, n.id AS id, n.last_updated_at AS at ${how} RETURN id, at`,
      { before: [...before, ...damaged.keys()] },
    );
    for (const { id, at } of nodes as { id: string; at: bigint }[]) damaged.set(id, at);
    return nodes.map(({ id }) => id as string);
  };
  const deleted = await harm('DETACH DELETE n');
  await harm(`SET n.last_updated_at = at + 3600000000, n.title = 'ahead'`);
  await harm(`SET n.last_updated_at = 0, n.title = 'behind'`);
  return { damaged, deleted };
}

it('repairs undo nothing that is newer, while the graph is damaged again and again', async () => {
  const foreign = `CREATE (n:${platform.names.labels.entity} {id: randomUUID(), type: 'ttp', last_updated_at: 1}) RETURN n.id AS id`;
  let left = 0;
  const everDamaged = new Set<string>();
  const everDeleted = new Set<string>();
  /** What an earlier run has not seen mended. */
  let open: readonly string[] = [];
  await underFullLoad(async () => {
    const enough = performance.now() + LAST_AT_LEAST_MS;
    for (let run = 0; run < REPAIRS || performance.now() < enough; run++) {
      const { damaged, deleted } = await damage(everDamaged);
      for (const id of damaged.keys()) everDamaged.add(id);
      for (const id of deleted) everDeleted.add(id);
      const [node] = await platform.cypher(foreign);
      const file = join(folder, `repair-${run}.json`);
      const { code, stderr } = await platform.run(['sync-data', '--check-results-file', file], {
        LOG_LEVEL: 'warn',
      });
      if (code !== 0) {
        expect(code, stderr).toBe(1);
        expect(stderr).toMatch(/^\d+ entities (still differ|changed all the time) /m);
      }
      const { entity_ids_to_delete: toDelete = [], entity_ids_to_reindex: toReindex = [] } = JSON.parse(
        readFileSync(file, 'utf8'),
      ) as Record<string, readonly string[]>;
      expect(toDelete).toContain(node?.['id']);
      // What an earlier run had undone would be here as well.
      const known = [...damaged.keys(), String(node?.['id'])];
      expect([...known, ...open]).toEqual(expect.arrayContaining([...toDelete, ...toReindex]));
      open = code === 0 ? [] : [...known, ...open];
      // What the workload has changed meanwhile may be mended by that.
      const { rows } = await platform.sql.query<{ id: string; at: string }>(
        `select id, (extract(epoch from last_updated_at) * 1000000)::bigint as at from entity where id = any($1)`,
        [[...damaged.keys()]],
      );
      const untouched = rows.filter(({ id, at }) => damaged.get(id) === BigInt(at)).map(({ id }) => id);
      expect(toReindex).toEqual(expect.arrayContaining(untouched));
      left += untouched.length;
    }
  });
  expect(left).toBeGreaterThan(REPAIRS);

  // What the workload mended has lost the relations that were deleted with it: only the whole graph shows that.
  const lost = (line: string) =>
    /^- \["(?:relation|link)"/.test(line) &&
    (JSON.parse(line.slice(2)) as unknown[]).some((cell) => everDeleted.has(String(cell)));
  const undone = (await platform.differences()).filter(
    (line) => !lost(line) && !open.some((id) => line.includes(id)),
  );
  expect(undone).toEqual([]);
  const args = ['sync-data', '--check-results-file', join(folder, 'last.json'), '--deep', '--whole-graph'];
  const last = await platform.run(args);
  expect(last.code, last.stderr).toBe(0);
  await platform.expectEqual();
});

/** Which PostgreSQL and the machine keep up with. */
async function underFullLoad(during: () => Promise<void>): Promise<void> {
  const load = { rate: RATE, leftAlone: [BUSY] };
  const { changes, elapsedMs } = await underLoad(platform, during, load);
  const reached = (changes / elapsedMs) * 1000;
  console.log(`${reached.toFixed(0)} of ${RATE} changes a second, for ${Math.round(elapsedMs / 1000)} s`);
  if (soak) expect(reached).toBeGreaterThan(0.8 * RATE);
  else expect(changes).toBeGreaterThan(RUNS);
}

/** A row of which the workload does not know. */
async function touchOften(signal: AbortSignal): Promise<void> {
  await platform.sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at) values ($1, 'ttp', '{}', now(), now())
     on conflict do nothing`,
    [BUSY],
  );
  while (!signal.aborted) {
    await platform.sql.query(`update entity set last_updated_at = now() where id = $1`, [BUSY]);
    await delay(100);
  }
}
