/** Both halves at work. */
import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { cpuSeconds, createPlatform, expectNodes, spent, until } from './platform.mjs';
import { INSERT_ONE, insertRows } from './rows.mjs';

const COMMITS_PER_SECOND = 200;
/** Rows looked for in one query, the oldest first: looking must not become the load when the graph is behind. */
const MOST_ASKED = 200;

/** Rows written as fast as PostgreSQL takes them: from the first insert until the graph has the last one. */
export async function endToEnd(bench) {
  const rows = bench.rows(100_000);
  const platform = await createPlatform(bench, 'bench_end_to_end');
  const replicator = await platform.start(
    'replicate',
    platform.connectors('end_to_end'),
    'partitions assigned',
  );
  bench.closers.push(replicator.stop);
  let total = 0;

  async function run() {
    const label = 'Entity_end_to_end';
    const before = cpuSeconds(bench.stack, replicator.pid);
    const startedAt = performance.now();
    await insertRows(platform.sql, rows, 100);
    total += rows;
    const finished = await until(() => hasNodes(bench, label, total));
    const cpu = spent(before, cpuSeconds(bench.stack, replicator.pid));
    await expectNodes(bench, label, total);
    return { count: rows, seconds: (finished - startedAt) / 1000, cpu };
  }
  return [{ name: 'end to end', unit: 'rows/s', run }];
}

async function hasNodes(bench, label, count) {
  const [{ n }] = await bench.cypher(`MATCH (n:${label}) RETURN count(n) AS n`);
  return Number(n) >= count;
}

/** From commit to visible, of single-row commits at a steady rate. */
export async function latency(bench) {
  const platform = await createPlatform(bench, 'bench_latency');
  const connectors = platform.connectors('latency');

  async function run() {
    const replicator = await platform.start('replicate', connectors, 'streaming');
    await insertRows(platform.sql, 1, 1);
    // Both halves are at work.
    const total = 'MATCH (n:Entity_latency) WHERE n.type IS NOT NULL RETURN count(n) AS n';
    const inTable = Number((await platform.sql.query('select count(*) as n from entity')).rows[0].n);
    await until(async () => Number((await bench.cypher(total))[0].n) === inTable);
    const before = cpuSeconds(bench.stack, replicator.pid);
    const measured = await steadyCommits(bench, platform, 'latency', bench.quick ? 2 : 20);
    const cpu = spent(before, cpuSeconds(bench.stack, replicator.pid));
    await replicator.stop();
    return { ...measured, cpu };
  }
  return [{ name: `latency, ${COMMITS_PER_SECOND} commits/s`, unit: 'commits/s', run }];
}

/**
 * 200 single-row commits a second, whether or not the graph keeps up; milliseconds from each until it is visible. Those
 * of the lead-in are not measured.
 */
export async function steadyCommits(bench, platform, graph, forSeconds, leadInSeconds = 0) {
  const unmeasured = COMMITS_PER_SECOND * leadInSeconds;
  const measured = COMMITS_PER_SECOND * forSeconds;
  const count = unmeasured + measured;
  const find = `UNWIND $ids AS id MATCH (n:Entity_${graph} {id: id}) WHERE n.type IS NOT NULL RETURN id`;
  const committed = new Map();
  const samples = [];
  const startedAt = performance.now();
  const commits = (async () => {
    const all = [];
    for (let i = 0; i < count; i += 1) {
      const dueMs = startedAt + (i * 1000) / COMMITS_PER_SECOND - performance.now();
      if (dueMs > 0) await delay(dueMs);
      const id = randomUUID();
      const inserted = platform.sql.query(INSERT_ONE, [id]);
      all.push(
        inserted.then(() => {
          if (i >= unmeasured) committed.set(id, performance.now());
        }),
      );
    }
    await Promise.all(all);
    return (performance.now() - startedAt) / 1000;
  })();
  const seen = until(async () => {
    const found = await bench.cypher(find, { ids: [...committed.keys()].slice(0, MOST_ASKED) });
    for (const { id } of found) {
      samples.push(performance.now() - committed.get(id));
      committed.delete(id);
    }
    return samples.length === measured;
  }, 1);
  const [seconds] = await Promise.all([commits, seen]);
  samples.sort((a, b) => a - b);
  const at = (share) => samples[Math.min(measured - 1, Math.floor(measured * share))];
  return { count, seconds, p50: at(0.5), p99: at(0.99) };
}
