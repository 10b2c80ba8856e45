/** The measurements. Each case, run once, answers how much it did in how long, and the CPU time of that span. */
import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { cpuSeconds, createPlatform, topicEnds, until } from './platform.mjs';

const BARE_BATCH = 2000;
const BARE_SESSIONS = 2;
const COMMITS_PER_SECOND = 200;
/** Rows looked for in one query, the oldest first: looking must not become the load when the graph is behind. */
const MOST_ASKED = 200;

/** A backlog written while no publisher runs: from `streaming` until the slot has confirmed what came after it. */
export async function publish(bench) {
  const platform = await createPlatform(bench, 'bench_publish');
  const connectors = platform.connectors('publish');
  await (await platform.start('publish', connectors, 'streaming')).stop(); // makes slot and topics

  const backlog = (rows, perTransaction) => async () => {
    const lsn = await insertRows(platform.sql, rows, perTransaction);
    const publisher = await platform.start('publish', connectors, 'streaming');
    const before = cpuSeconds(bench.stack, publisher.pid);
    const seconds = ((await platform.published(lsn)) - publisher.startedAt) / 1000;
    const cpu = spent(before, cpuSeconds(bench.stack, publisher.pid));
    await publisher.stop();
    return { count: rows, seconds, cpu };
  };
  return [
    { name: 'publish, 100 rows/transaction', unit: 'rows/s', run: backlog(bench.rows(200_000), 100) },
    { name: 'publish, 1 row/transaction', unit: 'rows/s', run: backlog(bench.rows(50_000), 1) },
  ];
}

/** The same topics into a new graph each time, against a loader that only merges the nodes that came of it. */
export async function project(bench) {
  const rows = bench.rows(200_000);
  const platform = await createPlatform(bench, 'bench_project');
  const publisher = await platform.start('publish', platform.connectors('fill'), 'streaming');
  await platform.published(await insertRows(platform.sql, rows, 100));
  await publisher.stop();
  let batches;
  let runs = 0;

  async function projector() {
    const graph = `project${(runs += 1)}`;
    const label = `Entity_${graph}`;
    const projecting = await platform.start('project', platform.connectors(graph), 'partitions assigned');
    const before = cpuSeconds(bench.stack, projecting.pid);
    const end = await topicEnds(bench, graph);
    const next = 'MATCH (p:_Progress {namespace: $graph}) RETURN sum(p.next) AS next';
    const finished = await until(async () => Number((await bench.cypher(next, { graph }))[0].next) >= end);
    const cpu = spent(before, cpuSeconds(bench.stack, projecting.pid));
    await projecting.stop();
    await expectNodes(bench, label, rows);
    batches ??= await batchesOf(bench, label);
    await removeNodes(bench, label);
    return { count: rows, seconds: (finished - projecting.startedAt) / 1000, cpu };
  }

  async function bare() {
    const label = `Bare${runs}`;
    await bench.cypher(`CREATE CONSTRAINT FOR (n:${label}) REQUIRE n.id IS UNIQUE`);
    const left = [...batches];
    const load = async () => {
      const session = bench.driver.session();
      const merge = `UNWIND $rows AS row MERGE (n:${label} {id: row.id}) SET n = row, n:Report`;
      for (let batch = left.shift(); batch !== undefined; batch = left.shift())
        await session.executeWrite((open) => open.run(merge, { rows: batch }));
      await session.close();
    };
    const before = cpuSeconds(bench.stack, process.pid);
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: BARE_SESSIONS }, load));
    const seconds = (performance.now() - startedAt) / 1000;
    const cpu = spent(before, cpuSeconds(bench.stack, process.pid));
    await expectNodes(bench, label, rows);
    await removeNodes(bench, label);
    return { count: rows, seconds, cpu };
  }

  return [
    { name: 'project nodes', unit: 'nodes/s', run: projector },
    { name: 'bare UNWIND MERGE', unit: 'nodes/s', run: bare, comparedWith: 'project nodes' },
  ];
}

/** Single-row commits at a steady rate, whether or not the graph keeps up: from commit to visible. */
export async function latency(bench) {
  const platform = await createPlatform(bench, 'bench_latency');
  const connectors = platform.connectors('latency');
  const count = COMMITS_PER_SECOND * (bench.quick ? 2 : 20);

  async function run() {
    const replicator = await platform.start('replicate', connectors, 'streaming');
    await insertRows(platform.sql, 1, 1);
    // Both halves are at work.
    const find = 'UNWIND $ids AS id MATCH (n:Entity_latency {id: id}) WHERE n.type IS NOT NULL RETURN id';
    const total = 'MATCH (n:Entity_latency) WHERE n.type IS NOT NULL RETURN count(n) AS n';
    const inTable = Number((await platform.sql.query('select count(*) as n from entity')).rows[0].n);
    await until(async () => Number((await bench.cypher(total))[0].n) === inTable);
    const before = cpuSeconds(bench.stack, replicator.pid);
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
        all.push(inserted.then(() => committed.set(id, performance.now())));
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
      return samples.length === count;
    }, 1);
    const [seconds] = await Promise.all([commits, seen]);
    const cpu = spent(before, cpuSeconds(bench.stack, replicator.pid));
    await replicator.stop();
    samples.sort((a, b) => a - b);
    const at = (share) => samples[Math.min(count - 1, Math.floor(count * share))];
    return { count, seconds, cpu, p50: at(0.5), p99: at(0.99) };
  }
  return [{ name: `latency, ${COMMITS_PER_SECOND} commits/s`, unit: 'commits/s', run }];
}

const DATA = `jsonb_build_object('id', 'report-' || i, 'title', 'Report ' || i, 'text',
  (select string_agg(md5(random()::text || i || w), ' ') from generate_series(1, 12) w))`;
const INSERT = `insert into entity (id, type, data, meta, created_at, last_updated_at)
  select gen_random_uuid(), 'report', ${DATA}, '{"tlp_color": "GREEN"}', now(), now()`;
const INSERT_ONE = `insert into entity (id, type, data, meta, created_at, last_updated_at)
  select $1::uuid, 'report', ${DATA}, '{"tlp_color": "GREEN"}', now(), now() from (select 1 as i) one`;

/** Rows of some 600 bytes; returns a marker's LSN, behind which they are all durable. */
async function insertRows(sql, rows, perTransaction) {
  await sql.query(`do $$ begin
    perform set_config('synchronous_commit', 'off', false);
    for t in 1..${Math.ceil(rows / perTransaction)} loop
      ${INSERT} from generate_series(1, ${perTransaction}) i;
      commit;
    end loop;
    perform set_config('synchronous_commit', 'on', false);
  end $$`);
  const emitted = await sql.query(`select pg_logical_emit_message(true, 'bench', '') as lsn`);
  return emitted.rows[0].lsn;
}

/** The nodes as the projector made them, in the batches of the bare loader. */
async function batchesOf(bench, label) {
  const nodes = await bench.cypher(`MATCH (n:${label}) RETURN properties(n) AS row`);
  const batches = [];
  while (nodes.length > 0) batches.push(nodes.splice(0, BARE_BATCH).map(({ row }) => row));
  return batches;
}

async function expectNodes(bench, label, rows) {
  const [{ n }] = await bench.cypher(`MATCH (n:${label}) WHERE n.type IS NOT NULL RETURN count(n) AS n`);
  if (Number(n) !== rows) throw new Error(`${label}: ${n} nodes instead of ${rows}`);
}

/** So that every run finds a graph of the same size. */
async function removeNodes({ driver }, label) {
  const session = driver.session();
  await session.run(`MATCH (n:${label}) CALL (n) { DELETE n } IN TRANSACTIONS OF 10000 ROWS`);
  await session.close();
}

function spent(before, after) {
  return Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - before[name]]));
}
