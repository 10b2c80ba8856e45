/**
 * The demo, as its output reads: servers, sample platform, replicator, load, live workload, check, summary, drift and its repair.
 * The check reads both sides itself; it shares nothing with the projector. Exit code 0 only if they are equal.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import neo4j, { type Driver } from 'neo4j-driver';
import pg from 'pg';
import { checkGraph } from '../sample/checker.ts';
import { load } from '../sample/load.ts';
import { importStix } from '../sample/stix.ts';
import { createTables } from '../sample/tables.ts';
import { runWorkload } from '../sample/workload.ts';
import { type Stack, startStack } from '../stack/stack.ts';
import { driftAndRepair } from './demo-drift.ts';
import { measureLatency } from './demo-latency.ts';
import { grouped, print, table } from './demo-output.ts';
import { caughtUp, startReplicator } from './demo-processes.ts';
import { progressLine } from './progress-line.ts';

export interface DemoOptions {
  readonly entities: number;
  readonly seconds: number;
  readonly rate: number;
  readonly stix?: string;
  readonly keep: boolean;
}

export async function runDemo(options: DemoOptions): Promise<number> {
  const interrupted = new AbortController();
  const stop = () => {
    interrupted.abort();
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const { signal } = interrupted;
  const startedAt = performance.now();
  const folder = mkdtempSync(join(tmpdir(), 'eiq-demo-'));
  const say = progressLine(process.stderr);
  say('starting PostgreSQL, Kafka and Neo4j');
  const stack = await startStack({
    ephemeral: true,
    onProgress: say,
    signal,
  });
  const sql = new pg.Pool({ connectionString: stack.env['DATABASE_URL'], max: 8 });
  const driver = connectNeo4j(stack);
  await withClient(sql, createTables);
  const replicator = startReplicator(stack, join(folder, 'replicate.log'));
  try {
    say('starting the replicator');
    await replicator.streaming(signal);
    await caughtUp(stack, performance.now());
    const loaded = await loadPlatform(sql, options, say, signal);
    const loadSeconds = await caughtUp(stack, loaded.startedAt);
    say(`the graph has caught up with ${loaded.changes} changes`);

    say(`live workload: ${options.rate} changes/s for ${options.seconds} s`);
    const latency = measureLatency(sql, driver, options.seconds * 1000, signal);
    const workload = { rate: options.rate, durationMs: options.seconds * 1000, seed: 7, signal };
    const live = await runWorkload(sql, workload);
    const { p50, p99, samples } = await latency;
    await caughtUp(stack, performance.now());

    say('comparing the graph with PostgreSQL, row by row');
    const check = await withClient(sql, (client) => checkGraph(client, driver));
    const seconds = (performance.now() - startedAt) / 1000;
    const total = Object.values(check.rows).reduce((sum, n) => sum + n, 0);
    print('');
    table([
      ...Object.entries(check.rows).map(([name, n]): [string, string] => [`rows in ${name}`, grouped(n)]),
      ['nodes in the graph', `${grouped(check.nodes)} and ${grouped(check.stubs)} stubs`],
      ['relationships in the graph', grouped(check.relationships)],
      [
        'loaded',
        `${grouped(loaded.changes)} changes at ${grouped(loaded.changes / loadSeconds)} changes/s, PostgreSQL to graph`,
      ],
      [
        'live workload',
        `${grouped(live.changes)} changes at ${grouped((live.changes * 1000) / live.elapsedMs)} changes/s`,
      ],
      [
        'latency, commit to visible',
        `p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms (${samples} samples)`,
      ],
      ['took', `${seconds.toFixed(1)} s`],
    ]);
    await showGraph(driver);
    const healed = await driftAndRepair(stack, driver, folder, say);
    const again = await withClient(sql, (client) => checkGraph(client, driver));
    print('');
    const differences = [...check.differences, ...again.differences];
    if (!healed)
      differences.push('sync-data did not report what was done to the graph, or not what it repaired');
    if (differences.length === 0)
      print(`The graph equals PostgreSQL, before and after the repair: all ${grouped(total)} rows compared.`);
    else {
      print('THE GRAPH DIFFERS from PostgreSQL:');
      for (const line of differences) print(`  ${line}`);
    }
    if (options.keep && !signal.aborted) await keep(stack, replicator.log, signal);
    return differences.length === 0 ? 0 : 1;
  } finally {
    await replicator.stop();
    await driver.close();
    await sql.end();
    await stack.stop();
    if (replicator.failed()) process.stderr.write(`The replicator failed; its log: ${replicator.log}\n`);
    else rmSync(folder, { recursive: true, force: true });
  }
}

function connectNeo4j({ env }: Stack): Driver {
  const auth = neo4j.auth.basic(env['NEO4J_USERNAME'] ?? '', env['NEO4J_PASSWORD'] ?? '');
  return neo4j.driver(env['NEO4J_URI'] ?? '', auth, { useBigInt: true });
}

async function loadPlatform(
  sql: pg.Pool,
  { entities, stix }: DemoOptions,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<{ changes: number; startedAt: number }> {
  const startedAt = performance.now();
  const changes = await withClient(sql, async (client) => {
    if (stix !== undefined) {
      say(`importing ${stix}`);
      const { inserted, updated, deleted } = await importStix(client, stix);
      return inserted + updated + deleted;
    }
    const done = await load(client, { seed: 1, entities, signal }, ({ inserted, done }) => {
      say(`loading the sample platform: ${grouped(inserted)} rows, ${Math.round(done * 100)} %`);
    });
    return done.inserted + done.touched + done.deleted;
  });
  return { changes, startedAt };
}

async function withClient<T>(sql: pg.Pool, use: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await sql.connect();
  try {
    return await use(client);
  } finally {
    client.release();
  }
}

async function showGraph(driver: Driver): Promise<void> {
  for (const [title, query] of [
    [
      'Most connected entities',
      `MATCH (e:Entity) WHERE e.title IS NOT NULL
       WITH e, COUNT { (e)--() } AS degree ORDER BY degree DESC, e.id LIMIT 5
       RETURN e.type AS type, left(e.title, 50) AS title, degree`,
    ],
    [
      'Extracts that most indicators share',
      `MATCH (i:Indicator)-[:OBSERVED|SIGHTED]->(x:Extract)
       WITH x, count(DISTINCT i) AS indicators ORDER BY indicators DESC, x.id LIMIT 5
       RETURN x.kind AS kind, left(x.value, 50) AS value, indicators`,
    ],
    [
      'Relations by type of their ends',
      `MATCH (a:Entity)-[r:RELATED]->(b:Entity) WHERE a.type IS NOT NULL AND b.type IS NOT NULL
       WITH a.type AS from, r.key AS key, b.type AS to, count(*) AS relations
       RETURN from, key, to, relations ORDER BY relations DESC, from, key, to LIMIT 5`,
    ],
  ] as const) {
    const { keys, records } = await driver.executeQuery(query);
    print('', title);
    table(records.map((record) => keys.map((key) => String(record.get(key)))));
  }
}

async function keep(stack: Stack, log: string, signal: AbortSignal): Promise<void> {
  print('', 'Everything stays up until Ctrl-C. To connect:');
  table(Object.entries(stack.env).map(([name, value]): [string, string] => [name, value]));
  print(`  the replicator logs to ${log}`);
  if (!signal.aborted) await once(signal, 'abort');
}
