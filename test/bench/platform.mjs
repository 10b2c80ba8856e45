/** What is measured: a platform of its own on the stack, the replicator as separate processes, and their CPU time. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { URL } from 'node:url';
import { promisify } from 'node:util';
import kafkajs from 'kafkajs';
import pg from 'pg';
import { createTables } from '../../dist/sample/tables.js';

const TICKS_PER_SECOND = 100; // USER_HZ, the unit of /proc/PID/stat on every Linux
const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
const shipped = new URL('../../connectors', import.meta.url).pathname;

/** A database and the topics and slot named after it. The graph it is projected to is chosen by `connectors`. */
export async function createPlatform(bench, name) {
  const { stack, folder, children } = bench;
  const admin = new pg.Client({ connectionString: stack.env.DATABASE_URL });
  await admin.connect();
  await admin.query(`create database ${name}`);
  await admin.end();
  const url = new URL(stack.env.DATABASE_URL);
  url.pathname = `/${name}`;
  const sql = new pg.Pool({ connectionString: url.href, max: 8 });
  bench.closers.push(() => sql.end());
  const client = await sql.connect();
  await createTables(client);
  client.release();

  /** The shipped connector files for a graph of this name: its namespace, group, base labels and types. */
  function connectors(graph) {
    const dir = join(folder, `${name}-${graph}`);
    cpSync(shipped, dir, { recursive: true });
    edit(join(dir, 'source.postgres.json'), { slot: name, publication: name, topicPrefix: name });
    edit(join(dir, 'sink.neo4j.json'), { namespace: graph, consumerGroupPrefix: graph });
    for (const file of readdirSync(join(dir, 'entities'))) {
      const path = join(dir, 'entities', file);
      const words = /"(Entity|Extract|RELATED|OBSERVED|SIGHTED|LINKED)"/g;
      writeFileSync(path, readFileSync(path, 'utf8').replaceAll(words, `"$1_${graph}"`));
    }
    return dir;
  }

  const environment = (connectorsDir) => ({
    PATH: process.env.PATH,
    ...stack.env,
    DATABASE_URL: url.href,
    CONNECTORS_DIR: connectorsDir,
  });

  /** Starts `graph …`; resolves when its log has the message, with the time it was seen. */
  async function start(command, connectorsDir, message, env = {}) {
    const child = spawn(process.execPath, [main, 'graph', ...command.split(' ')], {
      env: { ...environment(connectorsDir), ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    children.add(child);
    const exited = once(child, 'exit').then(([code, signal]) => {
      children.delete(child);
      return code ?? signal;
    });
    const lines = [];
    const startedAt = await new Promise((resolve, reject) => {
      createInterface({ input: child.stderr }).on('line', (line) => {
        lines.push(line);
        if (line.includes(`"msg":"${message}"`)) resolve(performance.now());
      });
      void exited.then((code) => reject(new Error(`graph ${command} ended (${code}):\n${lines.join('\n')}`)));
    });
    const stop = async () => {
      child.kill('SIGTERM');
      const code = await exited;
      if (code !== 0) throw new Error(`graph ${command} ended with ${code}:\n${lines.slice(-5).join('\n')}`);
    };
    return { pid: child.pid, startedAt, stop, exited, lines };
  }

  /** Resolves, with the time, when Kafka has everything that was committed before `lsn`. */
  async function published(lsn) {
    const query = `select confirmed_flush_lsn >= $2::pg_lsn as done from pg_replication_slots where slot_name = $1`;
    return until(async () => (await sql.query(query, [name, lsn])).rows[0]?.done === true);
  }

  /** Resolves when it is recorded that every table is loaded. */
  async function loaded(connectorsDir) {
    const status = [main, 'graph', 'status', '--json'];
    return until(async () => {
      const { stdout } = await promisify(execFile)(process.execPath, status, {
        env: environment(connectorsDir),
      }).catch((error) => error);
      return JSON.parse(stdout).tables.every(({ load }) => load?.state === 'loaded');
    }, 500);
  }

  const topics = ['entity', 'relation', 'extract', 'entity_extract'].map(
    (table) => `${name}.public.${table}`,
  );
  return { name, url: url.href, topics, sql, connectors, start, loaded, published };
}

/** The sum of the topics' ends; by default of those that the graph keeps progress of. */
export async function topicEnds(bench, graph, topics) {
  const kafka = new kafkajs.Kafka({
    brokers: bench.stack.env.KAFKA_BROKERS.split(','),
    logLevel: kafkajs.logLevel.NOTHING,
  });
  const admin = kafka.admin();
  await admin.connect();
  try {
    const rows = await bench.cypher(
      'MATCH (p:_Progress {namespace: $graph}) RETURN DISTINCT p.topic AS topic',
      { graph },
    );
    const wanted = topics ?? rows.map(({ topic }) => topic);
    const offsets = await Promise.all(wanted.map((topic) => admin.fetchTopicOffsets(topic)));
    return offsets.flat().reduce((sum, { offset }) => sum + Number(offset), 0);
  } finally {
    await admin.disconnect();
  }
}

/** Resolves, with the time, when the answer is true. */
export async function until(check, pauseMs = 20, timeoutMs = 600_000) {
  const deadline = performance.now() + timeoutMs;
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error('a measurement did not come to its end in time');
    await delay(pauseMs);
  }
  return performance.now();
}

/** CPU-seconds so far, by process; those of PostgreSQL with its children, the ones that have ended included. */
export function cpuSeconds({ services }, ownPid) {
  return {
    own: readStat(ownPid).used,
    kafka: readStat(services.kafka.pid()).used,
    postgres: withChildren(services.postgres.pid()),
    neo4j: readStat(services.neo4j.pid()).used,
  };
}

export function spent(before, after) {
  return Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - before[name]]));
}

export async function expectNodes(bench, label, rows) {
  const [{ n }] = await bench.cypher(`MATCH (n:${label}) WHERE n.type IS NOT NULL RETURN count(n) AS n`);
  if (Number(n) !== rows) throw new Error(`${label}: ${n} nodes instead of ${rows}`);
}

function withChildren(pid) {
  try {
    const { used, reaped } = readStat(pid);
    const ids = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
    return ids.reduce((sum, id) => sum + withChildren(id), used + reaped);
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'ESRCH') throw error;
    return 0; // ended since it was listed: its parent has reaped it
  }
}

function readStat(pid) {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' '); // from field 3 on: a name may have blanks
  const [utime, stime, cutime, cstime] = fields
    .slice(11, 15)
    .map((ticks) => Number(ticks) / TICKS_PER_SECOND);
  return { used: utime + stime, reaped: cutime + cstime };
}

function edit(path, values) {
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...values }));
}
