/** sync-data over a graph in sync: against the bare page scans of both sides, and what it costs a live stream. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { URL } from 'node:url';
import { steadyCommits } from './live.mjs';
import { cpuSeconds, createPlatform, spent } from './platform.mjs';
import { insertRows } from './rows.mjs';

const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
const PAGE = 1000;
const GRAPH = 'reconcile';
const PAIRS_A_ROUND = 6;
const WINDOW_SECONDS = 20;
const LEAD_IN_SECONDS = 4;
const POSTGRES_SCAN = 'bare page scan of PostgreSQL';
const NEO4J_SCAN = 'bare page scan of Neo4j';

export async function reconcile(bench) {
  const rows = bench.rows(1_000_000);
  const platform = await createPlatform(bench, 'bench_reconcile');
  await insertRows(platform.sql, rows, 10_000);
  await copyToGraph(bench, platform.sql);
  await platform.sql.query('vacuum analyze entity');
  const connectors = platform.connectors(GRAPH);
  const replicator = await platform.start('replicate --no-initial-load', connectors, 'partitions assigned');
  bench.closers.push(replicator.stop);
  const context = { bench, platform, connectors };

  const scanned = (read) => async () => {
    const before = cpuSeconds(bench.stack, process.pid);
    const startedAt = performance.now();
    let count = 0;
    for (let after = ''; after !== null;) {
      const page = await read(after);
      count += page.length;
      after = page.length < PAGE ? null : page.at(-1);
    }
    const seconds = (performance.now() - startedAt) / 1000;
    return { count, seconds, cpu: spent(before, cpuSeconds(bench.stack, process.pid)) };
  };
  const postgres = scanned(async (after) => {
    const found = await platform.sql.query({
      text: `select id::text, last_updated_at::text from entity where $1 = '' or id > nullif($1, '')::uuid order by entity.id limit ${PAGE}`,
      values: [after],
      rowMode: 'array',
    });
    return found.rows.map(([id]) => id);
  });
  const neo4j = scanned(async (after) => {
    const query = `MATCH (n:Entity_${GRAPH}) WHERE n.id > $after AND NOT n:Stub
      WITH n ORDER BY n.id LIMIT ${PAGE} RETURN collect(n.id) AS ids, collect(n.last_updated_at) AS stamps`;
    const [{ ids }] = await bench.cypher(query, { after });
    return ids;
  });
  return [
    {
      name: 'sync-data --dry-run',
      unit: 'entities/s',
      run: () => dryRun(context, rows),
      limitedBy: [POSTGRES_SCAN, NEO4J_SCAN],
    },
    { name: POSTGRES_SCAN, unit: 'entities/s', run: postgres },
    { name: NEO4J_SCAN, unit: 'entities/s', run: neo4j },
    { name: 'a stream of 200 commits/s beside it', unit: 'commits/s', run: () => streamBeside(context) },
  ];
}

/** The nodes that the projector would have made, written without it. */
async function copyToGraph(bench, sql) {
  await bench.cypher(`CREATE CONSTRAINT FOR (n:Entity_${GRAPH}) REQUIRE n.id IS UNIQUE`);
  for (let after = '00000000-0000-0000-0000-000000000000'; ;) {
    const { rows } = await sql.query(
      `select id::text, (extract(epoch from last_updated_at) * 1000000)::int8::text as micros
         from entity where id > $1 order by id limit 10000`,
      [after],
    );
    if (rows.length === 0) return;
    await bench.cypher(
      `UNWIND $rows AS row CREATE (:Entity_${GRAPH}:Report {id: row.id, type: 'report', last_updated_at: toInteger(row.micros)})`,
      { rows },
    );
    after = rows.at(-1).id;
  }
}

/** From its first event to the one that says how many are equal. */
async function dryRun(context, expected) {
  const { bench } = context;
  const run = startDryRun(context);
  await run.said('Starting data check');
  const startedAt = performance.now();
  const before = cpuSeconds(bench.stack, run.pid);
  const finished = await run.said('Data check finished');
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = spent(before, cpuSeconds(bench.stack, run.pid));
  const rss = peakMegabytes(run.pid);
  if ((await run.exited) !== 0) throw new Error('sync-data failed');
  if (finished.n_ok < expected || finished.n_missing + finished.n_not_deleted + finished.n_outdated > 0)
    throw new Error(`not in sync: ${JSON.stringify(finished)}`);
  return { count: finished.n_ok, seconds, cpu, rss };
}

function startDryRun({ bench, platform, connectors }) {
  const file = join(bench.folder, 'report.json');
  const child = spawn(
    process.execPath,
    [main, 'graph', 'sync-data', '--dry-run', '--check-results-file', file],
    {
      env: {
        PATH: process.env.PATH,
        ...bench.stack.env,
        DATABASE_URL: platform.url,
        CONNECTORS_DIR: connectors,
      },
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  bench.children.add(child);
  const events = [];
  const waiting = new Set();
  createInterface({ input: child.stdout }).on('line', (line) => {
    events.push(JSON.parse(line));
    for (const look of waiting) look();
  });
  const exited = once(child, 'exit').then(([code, signal]) => {
    bench.children.delete(child);
    return code ?? signal;
  });
  const said = (event) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const found = events.find((one) => one.event === event);
        if (found !== undefined) resolve(found);
      };
      waiting.add(look);
      look();
      void exited.then((code) => reject(new Error(`sync-data ended (${code}) before it said ${event}`)));
    });
  return { pid: child.pid, exited, said, stop: () => child.kill('SIGTERM') };
}

function peakMegabytes(pid) {
  const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(kilobytes) / 1024;
}

/** Windows without and with a dry run at work, which began beside the stream: each comes first in every other pair. */
async function streamBeside(context) {
  const { bench, platform } = context;
  const windowOf = () =>
    steadyCommits(bench, platform, GRAPH, bench.quick ? 2 : WINDOW_SECONDS, LEAD_IN_SECONDS);
  const beside = async () => {
    const startedAt = performance.now();
    const [measured, stop] = await Promise.all([windowOf(), keepChecking(context, startedAt)]);
    await stop();
    return measured;
  };
  const wanted = bench.quick || !context.warm ? 1 : PAIRS_A_ROUND;
  if (!context.warm) await windowOf();
  context.warm = true;
  const pairs = [];
  const startedAt = performance.now();
  const before = cpuSeconds(bench.stack, process.pid);
  for (let pair = 0; pair < wanted; pair += 1) {
    const measured = {};
    for (const which of pair % 2 === 0 ? ['off', 'on'] : ['on', 'off'])
      measured[which] = await (which === 'on' ? beside() : windowOf());
    pairs.push(measured);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const count = pairs.reduce((sum, { off, on }) => sum + off.count + on.count, 0);
  const cpu = spent(before, cpuSeconds(bench.stack, process.pid));
  return { count, seconds, cpu, pairs };
}

/** Dry runs, one after the other, until it is stopped; the first is at work within the lead-in. */
async function keepChecking(context, startedAt) {
  let stopped = false;
  let run = startDryRun(context);
  await run.said('Starting data check');
  if (performance.now() - startedAt > (LEAD_IN_SECONDS - 1) * 1000)
    throw new Error('sync-data was not at work in time');
  const going = (async () => {
    for (;;) {
      await run.exited;
      if (stopped) return;
      run = startDryRun(context);
    }
  })();
  return async () => {
    stopped = true;
    run.stop();
    await going;
  };
}
