/**
 * A platform of a test's own on the shared servers: database, slot, topics and namespace carry its name, and go when it
 * is disposed; so does what has its labels. Replicator processes are the built command line, so that they can be killed and paused.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import neo4j, { type Driver } from 'neo4j-driver';
import pg from 'pg';
import { expect } from 'vitest';
import type { GraphContext } from '../../src/cli/graph-context.ts';
import { waitUntilCurrent } from '../../src/cli/graph-reports.ts';
import { loadMapping } from '../../src/config/connectors.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import { createTables } from '../../src/sample/tables.ts';
import { runWorkload, type WorkloadCounts, type WorkloadOptions } from '../../src/sample/workload.ts';
import { hashNeo4j, type GraphNames } from './canonical-neo4j.ts';
import { hashPostgres } from './canonical-postgres.ts';
import { compareHashes } from './compare.ts';
import { silent } from './kafka.ts';
import { type Servers, servers } from './servers.ts';
import { soak } from './soak.ts';

export interface Process {
  readonly child: ChildProcess;
  /** Everything it has logged, one object per line. */
  readonly logs: readonly Record<string, unknown>[];
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Exit code, or the signal's name. */
  readonly exited: Promise<number | string>;
  readonly kill: (signal?: NodeJS.Signals) => Promise<number | string>;
  /** Asks it to stop, and expects it to do so in good order. */
  readonly stop: () => Promise<void>;
  /** Resolves when a log line has this message, and its error this code; rejects if the process ends before. */
  readonly logged: (message: RegExp, errorCode?: ErrorCode) => Promise<Record<string, unknown>>;
}

export interface Platform {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  readonly connectors: string;
  readonly names: GraphNames;
  readonly sql: pg.Pool;
  readonly driver: Driver;
  /** Runs `eiq-platform graph …`. */
  readonly start: (
    args: readonly string[],
    env?: Readonly<Record<string, string>>,
    limits?: ProcessLimits,
  ) => Process;
  /** Runs it to its end. */
  readonly run: (args: readonly string[], env?: Readonly<Record<string, string>>) => Promise<Finished>;
  /** Waits until the graph has everything, then compares the canonical hashes of both sides. */
  readonly expectEqual: (timeoutSeconds?: number) => Promise<void>;
  /** As well, and resolves to every line that differs. */
  readonly differences: () => Promise<readonly string[]>;
  readonly cypher: (query: string, parameters?: object) => Promise<Record<string, unknown>[]>;
  readonly dispose: () => Promise<void>;
}

export interface ProcessLimits {
  /** No file of the process may be larger. */
  readonly maxFileBytes?: number;
  /** It runs on a terminal: what is written to its input is typed, and all that it says is on `stdout`. */
  readonly terminal?: boolean;
}

export interface Finished {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

export async function createPlatform(prefix: string, on: Servers = servers()): Promise<Platform> {
  const name = `${prefix}_${randomBytes(4).toString('hex')}`;
  const admin = async (...queries: readonly string[]) => {
    const client = new pg.Client({ connectionString: on.databaseUrl });
    await client.connect();
    for (const query of queries) await client.query(query);
    await client.end();
  };
  await admin(`create database ${name}`);
  const url = new URL(on.databaseUrl);
  url.pathname = `/${name}`;
  const sql = new pg.Pool({ connectionString: url.href, max: 8 });
  sql.on('error', () => undefined);
  sql.on('connect', (client) => client.on('error', () => undefined)); // the statement's rejection tells
  const client = await sql.connect();
  await createTables(client);
  client.release();

  const connectors = mkdtempSync(join(tmpdir(), `${name}-`));
  const { place, leave } = await takePlace();
  const names = writeConnectors(connectors, name, place);
  const env = {
    DATABASE_URL: url.href,
    KAFKA_BROKERS: on.kafkaBrokers,
    NEO4J_URI: on.neo4jUri,
    NEO4J_USERNAME: on.neo4jUsername,
    NEO4J_PASSWORD: on.neo4jPassword,
    NEO4J_DATABASE: on.neo4jDatabase,
    CONNECTORS_DIR: connectors,
    LOG_LEVEL: 'debug',
  };
  const driver = neo4j.driver(on.neo4jUri, neo4j.auth.basic(on.neo4jUsername, on.neo4jPassword), {
    useBigInt: true,
  });
  const processes: Process[] = [];

  function start(
    args: readonly string[],
    more: Readonly<Record<string, string>> = {},
    limits?: ProcessLimits,
  ): Process {
    const started = startProcess(['graph', ...args], { ...env, ...more }, limits);
    processes.push(started);
    return started;
  }

  async function run(args: readonly string[], more?: Readonly<Record<string, string>>): Promise<Finished> {
    const started = start(args, more);
    const code = await started.exited;
    return { code, stdout: started.stdout(), stderr: started.stderr() };
  }

  const context = (): GraphContext => ({
    mapping: loadMapping(connectors),
    log: silent,
    databaseUrl: url.href,
    kafka: { brokers: on.kafkaBrokers.split(','), clientId: 'test' },
    neo4j: {
      uri: on.neo4jUri,
      username: on.neo4jUsername,
      password: on.neo4jPassword,
      database: on.neo4jDatabase,
    },
    targetCredentials: { username: on.neo4jUsername, password: on.neo4jPassword },
  });

  async function cypher(query: string, parameters: object = {}): Promise<Record<string, unknown>[]> {
    const { records } = await driver.executeQuery(query, parameters, { database: on.neo4jDatabase });
    return records.map((record) => record.toObject());
  }

  /** What a killed process has begun may still be committed: only after that is everything removed that it wrote. */
  async function clearGraph(): Promise<void> {
    const running = async () =>
      (await cypher('SHOW TRANSACTIONS YIELD transactionId AS id')).map(({ id }) => id);
    const begun = new Set(await running());
    await eventually('what was begun has ended', async () => {
      return !(await running()).some((id) => begun.has(id));
    });
    await cypher(
      `MATCH (n) WHERE any(label IN labels(n) WHERE label IN $labels) OR n.namespace = $name DETACH DELETE n`,
      { labels: Object.values(names.labels), name },
    );
  }

  async function differences(timeoutSeconds: number, most?: number): Promise<readonly string[]> {
    // What `graph wait` does, without a process of its own each time.
    await waitUntilCurrent(context(), timeoutSeconds * 1000).catch((error: unknown) => {
      throw new Error(`${String(error)}${processes.map(said).join('')}`, { cause: error });
    });
    const [source, sink] = [
      await hashPostgres(sql, 'public'),
      await hashNeo4j(driver, names, on.neo4jDatabase),
    ];
    return compareHashes(source, sink, most);
  }

  return {
    name,
    env,
    connectors,
    names,
    sql,
    driver,
    start,
    run,
    cypher,
    async expectEqual(timeoutSeconds = 60) {
      expect(await differences(timeoutSeconds)).toEqual([]);
    },
    differences: () => differences(60, Infinity),
    async dispose() {
      await Promise.all(processes.map((p) => p.kill('SIGKILL')));
      await clearGraph();
      await leave();
      await driver.close();
      await sql.end();
      await admin(
        `select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = '${name}'`,
        `drop database ${name} with (force)`,
      );
      rmSync(connectors, { recursive: true });
    },
  };
}

/** What a process has said, without its debug lines. */
function said({ stderr, child }: Process): string {
  const lines = stderr()
    .split('\n')
    .filter((line) => !line.startsWith('{"level":20'));
  return `\n${child.spawnargs.slice(2).join(' ')}:\n${lines.slice(-12).join('\n')}`;
}

/** Of advisory locks in the database that all tests share. */
const PLACES = 0x706c6163;

/** No two platforms have the same one at once, in whatever process; it is free again when the process ends. */
async function takePlace(): Promise<{ readonly place: number; readonly leave: () => Promise<void> }> {
  const client = new pg.Client({ connectionString: servers().databaseUrl });
  client.on('error', () => undefined); // the next statement's rejection tells
  await client.connect();
  for (let place = 1; ; place++) {
    const { rows } = await client.query<{ taken: boolean }>('select pg_try_advisory_lock($1, $2) as taken', [
      PLACES,
      place,
    ]);
    if (rows[0]?.taken === true) return { place, leave: () => client.end() };
  }
}

/**
 * The shipped connectors with labels, types, slot, topics and namespace renamed. Labels are those of an earlier platform
 * that is gone: to Neo4j its statements are then not new.
 */
function writeConnectors(folder: string, name: string, place: number): GraphNames {
  cpSync('connectors', folder, { recursive: true });
  const own = (word: string) => `${word}_${place}`;
  edit(join(folder, 'source.postgres.json'), (json) => {
    Object.assign(json, { slot: name, publication: name, topicPrefix: name });
  });
  edit(join(folder, 'sink.neo4j.json'), (json) => {
    Object.assign(json, { namespace: name, consumerGroupPrefix: name });
  });
  for (const file of readdirSync(join(folder, 'entities'))) {
    const path = join(folder, 'entities', file);
    const text = readFileSync(path, 'utf8').replaceAll(
      /"(Entity|Extract|RELATED|OBSERVED|SIGHTED|LINKED)"/g,
      (_, word: string) => `"${own(word)}"`,
    );
    writeFileSync(path, text);
  }
  return {
    labels: { entity: own('Entity'), extract: own('Extract') },
    types: {
      related: own('RELATED'),
      observed: own('OBSERVED'),
      sighted: own('SIGHTED'),
      linked: own('LINKED'),
    },
  };
}

/** Changes a JSON file in place. */
export function edit(path: string, change: (json: Record<string, unknown>) => void): void {
  const json = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  change(json);
  writeFileSync(path, JSON.stringify(json, null, 2));
}

export function startProcess(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  { maxFileBytes, terminal = false }: ProcessLimits = {},
): Process {
  const whole = [process.execPath, 'dist/cli/main.js', ...args];
  // POSIX counts in blocks of 512 bytes.
  const limited = ['sh', '-c', `ulimit -f ${(maxFileBytes ?? 0) / 512} && exec "$@"`, 'sh', ...whole];
  const typed = ['script', '-qec', whole.map((arg) => `'${arg}'`).join(' '), '/dev/null'];
  const [file = '', ...parameters] = terminal ? typed : maxFileBytes === undefined ? whole : limited;
  const child = spawn(file, parameters, {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: [terminal ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  if (child.stdout === null || child.stderr === null) throw new Error('it has both');
  let stdout = '';
  let stderr = '';
  let rest = '';
  const logs: Record<string, unknown>[] = [];
  const listeners = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines)
      if (line.startsWith('{')) logs.push(JSON.parse(line) as Record<string, unknown>);
    for (const listener of listeners) listener();
  });
  const exited = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string);
  return {
    child,
    logs,
    stdout: () => stdout,
    stderr: () => stderr,
    exited,
    async kill(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      return exited;
    },
    async stop() {
      if (child.exitCode === null) child.kill('SIGTERM');
      expect(await exited, stderr.slice(-3000)).toBe(0);
    },
    async logged(message, errorCode) {
      const find = () =>
        logs.find(
          ({ msg, error }) =>
            message.test(String(msg)) &&
            (errorCode === undefined || (error as { code?: unknown } | undefined)?.code === errorCode),
        );
      const found = new Promise<Record<string, unknown>>((resolve) => {
        const check = () => {
          const line = find();
          if (line === undefined) return;
          listeners.delete(check);
          resolve(line);
        };
        listeners.add(check);
        check();
      });
      const ended = exited.then((code) => {
        throw new Error(
          `the process ended (${code}) before it logged ${String(message)}:\n${stderr.slice(-3000)}`,
        );
      });
      return Promise.race([found, ended]);
    },
  };
}

/** Asks until the answer is true: a condition with a deadline, not a pause. */
export async function eventually(
  what: string,
  check: () => Promise<boolean>,
  timeoutMs = 30_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    if (await check()) return;
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Of a Neo4j that has just started, two cores are not enough for much more, tests beside it. */
export const CHANGES_PER_SECOND = soak ? 200 : 25;

/** How soon whatever is wrong with source, topics or graph is to be found. */
export const FOUND_MS = 30_000;

/** What is awaited, if it comes in time. */
export async function within<T>(what: string, awaited: Promise<T>, timeoutMs = FOUND_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`not within ${timeoutMs} ms: ${what}`));
    }, timeoutMs);
  });
  return Promise.race([awaited, late]).finally(() => {
    clearTimeout(timer);
  });
}

/** Changes at a steady rate while `during` runs, and not a moment longer. */
export async function underLoad(
  platform: Platform,
  during: () => Promise<void>,
  more: Partial<WorkloadOptions> = {},
): Promise<WorkloadCounts> {
  const stop = new AbortController();
  const options = { rate: CHANGES_PER_SECOND, durationMs: 3_600_000, seed: 4, ...more, signal: stop.signal };
  const [workload] = await Promise.all([
    runWorkload(platform.sql, options),
    during().finally(() => {
      stop.abort();
    }),
  ]);
  return workload;
}
