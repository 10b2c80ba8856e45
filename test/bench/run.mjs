/**
 * npm run bench [-- decode|publish|project|end-to-end|latency|republish|reconcile|rebuild] [--quick]
 *
 * Medians of interleaved runs, after one that is not counted, on a stack of its own. CPU-seconds are those of the
 * measured span, by process; `own` is the replicator's, or the bare loader's. --quick, a tenth of the rows and one cold
 * run, only shows that it works.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import neo4j from 'neo4j-driver';
import { startStack } from '../../dist/stack/stack.js';
import { project } from './graph.mjs';
import { endToEnd, latency } from './live.mjs';
import { rebuild } from './rebuild.mjs';
import { reconcile } from './reconcile.mjs';
import { republish } from './republish.mjs';
import { decode, publish } from './source.mjs';

const RUNS = 3;
const parts = { decode, publish, project, 'end-to-end': endToEnd, latency, republish, reconcile, rebuild };
const { values, positionals } = parseArgs({
  options: { quick: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const unknown = positionals.find((name) => !Object.hasOwn(parts, name));
if (unknown !== undefined) {
  console.error(`There is no part ${unknown}; the parts are ${Object.keys(parts).join(', ')}.`);
  process.exit(2);
}
const { quick } = values;
const say = (line) => process.stderr.write(`${line}\n`);
const loadBefore = loadavg();
const folder = mkdtempSync(join(tmpdir(), 'bench-'));
const bench = { folder, quick, children: new Set(), closers: [], rows: (n) => (quick ? n / 10 : n) };
process.on('exit', () => {
  for (const child of bench.children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1)); // the stack ends with us

try {
  bench.stack = await startStack({ ephemeral: true, shortLived: false, onProgress: say });
  const { NEO4J_URI, NEO4J_USERNAME, NEO4J_PASSWORD, NEO4J_DATABASE } = bench.stack.env;
  bench.driver = neo4j.driver(NEO4J_URI, neo4j.auth.basic(NEO4J_USERNAME, NEO4J_PASSWORD), {
    useBigInt: true,
  });
  bench.cypher = async (query, parameters = {}) => {
    const { records } = await bench.driver.executeQuery(query, parameters, { database: NEO4J_DATABASE });
    return records.map((record) => record.toObject());
  };
  print(await measure(positionals.length > 0 ? positionals : Object.keys(parts)));
} finally {
  for (const close of bench.closers) await close();
  await bench.driver?.close();
  await bench.stack?.stop();
}

async function measure(names) {
  const cases = [];
  for (const name of names) cases.push(...(await parts[name](bench)));
  const results = cases.map((one) => ({ ...one, runs: [] }));
  // Round 0 is not counted: the servers' JVMs compile while they run.
  for (let round = quick ? 1 : 0; round <= (quick ? 1 : RUNS); round += 1)
    for (const result of results) {
      const run = await result.run();
      if (round > 0) result.runs.push(run);
      say(`round ${round}: ${result.name}`);
    }
  return results;
}

function print(results) {
  const load = (values) => values.map((value) => value.toFixed(1)).join(' ');
  console.log(
    `${new Date().toISOString()}, node ${process.version}, ${availableParallelism()} cores, ` +
      `load ${load(loadBefore)} before and ${load(loadavg())} after, ` +
      (quick ? 'QUICK: one short run, no figures' : `medians of ${RUNS} interleaved runs`),
  );
  const rates = new Map(
    results.map(({ name, runs }) => [name, median(runs.map((r) => r.count / r.seconds))]),
  );
  const rows = results.map(({ name, unit, runs }) => {
    const cpu = (process) => median(runs.map((r) => r.cpu[process])).toFixed(2);
    const all = runs.map((r) => r.count / r.seconds);
    return {
      measured: name,
      count: String(runs[0].count),
      median: `${Math.round(rates.get(name))} ${unit}`,
      range: `${Math.round(Math.min(...all))}–${Math.round(Math.max(...all))}`,
      'CPU s: own': cpu('own'),
      kafka: cpu('kafka'),
      postgres: cpu('postgres'),
      neo4j: cpu('neo4j'),
    };
  });
  const columns = Object.keys(rows[0]);
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => row[column].length)));
  const line = (cells) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])));
  console.log(line(columns).join('  '));
  for (const row of rows) console.log(line(columns.map((column) => row[column])).join('  '));
  for (const { name, comparedWith, limitedBy, runs } of results) {
    if (comparedWith !== undefined)
      console.log(
        `${comparedWith} at ${(rates.get(comparedWith) / rates.get(name)).toFixed(2)} of the rate of ${name}`,
      );
    if (limitedBy !== undefined) {
      const slower = limitedBy.reduce((a, b) => (rates.get(a) < rates.get(b) ? a : b));
      console.log(
        `${name} at ${(rates.get(name) / rates.get(slower)).toFixed(2)} of the rate of the ${slower}`,
      );
    }
    if (runs[0].rss !== undefined)
      console.log(`${name}, peak RSS: ${median(runs.map((r) => r.rss)).toFixed(0)} MB`);
    if (runs[0].pairs !== undefined) {
      const pairs = runs.flatMap((r) => r.pairs);
      const p99 = (which) => median(pairs.map((pair) => pair[which].p99)).toFixed(0);
      const ratio = median(pairs.map(({ on, off }) => on.p99 / off.p99)).toFixed(2);
      console.log(
        `${name}: p99 ${p99('on')} ms, without it ${p99('off')} ms; ratio ${ratio}, median of ${pairs.length} pairs`,
      );
    }
    if (runs[0].heldUp !== undefined) {
      const all = runs.flatMap((r) => r.heldUp).sort((a, b) => a - b);
      const at = (share) => all[Math.min(all.length - 1, Math.floor(all.length * share))];
      console.log(
        `${name}: each holds up the stream for ${at(0.5)} ms, ${at(0.99)} ms at the 99th of 100, ${all.at(-1)} ms at most`,
      );
    }
    if (runs[0].p50 !== undefined) {
      const ms = (share) => `${share} ${median(runs.map((r) => r[share])).toFixed(0)} ms`;
      console.log(`${name}, commit to visible: ${ms('p50')}, ${ms('p99')}`);
    }
  }
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
