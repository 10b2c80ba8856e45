import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFile,
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { isAppError } from '../../src/core/errors.ts';
import { processStartTime } from '../../src/stack/process-start.ts';
import { isRunning, type ProcessRecord, readRecord, RECORDS_DIR } from '../../src/stack/registry.ts';
import { startStack, type Stack } from '../../src/stack/stack.ts';
import { cypher, expectServing, query, topics } from '../support/serving.ts';
import { servers, serversOf } from '../support/servers.ts';

vi.setConfig({ testTimeout: 180_000 });

/** Two cores may be busy with other things. */
const PATIENCE = { timeout: 120_000, interval: 100 };

let scratch: string;
beforeAll(async () => {
  scratch = await realpath(await mkdtemp(path.join(tmpdir(), 'eiq-stack-test-')));
  // As mkdtemp leaves it, PostgreSQL could not pass through when the tests run as root.
  await chmod(scratch, 0o755);
});
afterAll(async () => {
  await rm(scratch, { recursive: true });
});

test('the next start ends what a killed launcher left; killed servers come back as they were; stop leaves nothing', async () => {
  const left = path.join(scratch, 'left');
  const launcher = launch(['--ephemeral', '--dir', left]);
  const orphans = await recordedServers(left);
  await kill(
    launcher.child,
    orphans.find(({ name }) => name === 'watchdog'),
  );
  expect(orphans.filter(isRunning)).toHaveLength(3);
  // A process that was given the pid of a server that is gone: another start time.
  const bystander = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)']);
  await appendFile(await recordOf(left), `kafka ${bystander.pid ?? 0} 1\n`);

  const place = path.join(scratch, 'next');
  const stack = await startStack({ dir: place, ephemeral: true });
  expect(orphans.filter(isRunning)).toEqual([]);
  expect(await readdir(left)).toEqual([]);
  expect(bystander.signalCode).toBeNull();
  bystander.kill();

  const own = await recordedServers(place);
  await expectServing(serversOf(stack.env));
  await expectServing(servers()); // the stack of all tests, beside this one
  await expectDataAfterKill(stack);

  await stack.stop();
  expect(own.filter(isRunning)).toEqual([]);
  expect(await readdir(place)).toEqual([]);
});

test('the watchdog ends the servers of a killed launcher and removes ephemeral data', async () => {
  const dir = path.join(scratch, 'watched');
  const launcher = launch(['--ephemeral', '--dir', dir]);
  const orphans = await recordedServers(dir);
  await kill(launcher.child);
  await vi.waitFor(async () => {
    expect(orphans.filter(isRunning)).toEqual([]);
    expect(await readdir(dir)).toEqual([]);
  }, PATIENCE);
});

test('the command prints and writes the settings when all is ready, keeps its folder, and stops at SIGTERM', async () => {
  const dir = path.join(scratch, 'kept');
  const envFile = path.join(scratch, 'stack.env');
  const { child, stdout } = launch(['--dir', dir, '--env-file', envFile]);
  const lines = await vi.waitFor(() => readFile(envFile, 'utf8'), PATIENCE);
  await expectServing(serversOf(parse(lines)));

  const second = launch(['--dir', dir]);
  expect(await second.stderr).toMatch(/^Process \d+ runs a stack from .*\n$/);

  const processes = await recordedServers(dir);
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(await stdout).toBe(lines);
  expect(Object.keys(parse(lines))).toEqual([
    'DATABASE_URL',
    'KAFKA_BROKERS',
    'NEO4J_URI',
    'NEO4J_USERNAME',
    'NEO4J_PASSWORD',
    'NEO4J_DATABASE',
  ]);
  expect((await stat(envFile)).mode & 0o777).toBe(0o600);
  expect(processes.filter(isRunning)).toEqual([]);
  expect(await readdir(dir)).toEqual(['kafka', 'logs', 'neo4j', 'postgres', 'settings.json']);
});

test('without Java the command says so in one line', async () => {
  const { child, stdout, stderr } = launch(['--ephemeral'], { PATH: '' });
  expect(await once(child, 'exit')).toEqual([1, null]);
  expect(await stdout).toBe('');
  expect(await stderr).toMatch(/^Java is not on the PATH\. Install it [^\n]*\n$/);
});

test('an env file that cannot be written is an error before anything starts', async () => {
  const { child, stdout, stderr } = launch([
    '--ephemeral',
    '--env-file',
    path.join(scratch, 'absent', 'file'),
  ]);
  expect(await once(child, 'exit')).toEqual([2, null]);
  expect(await stdout).toBe('');
  expect(await stderr).toBe('The file that --env-file names cannot be written. See --help.\n');
});

test('without Maven, and nothing fetched before, the start says so', async () => {
  const bin = path.join(scratch, 'bin');
  await mkdir(bin);
  await symlink(await onPath('java'), path.join(bin, 'java'));
  vi.stubEnv('PATH', bin);
  try {
    await expect(startStack({ cacheDir: path.join(scratch, 'cache') })).rejects.toSatisfy(
      (error) =>
        isAppError(error, 'STACK_TOOL_MISSING') && error.message === 'Maven (mvn) is not on the PATH.',
    );
  } finally {
    vi.unstubAllEnvs();
  }
});

test('if one server does not come up, none stays, and the error names its log', async () => {
  const dir = path.join(scratch, 'broken');
  await mkdir(path.join(dir, 'postgres', 'data'), { recursive: true });
  const error: unknown = await startStack({ dir }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({
    code: 'STACK_FAILED',
    message: `postgres ended before it was ready; its log is ${dir}/logs/postgres.log.`,
  });
  expect(await readFile(path.join(dir, 'logs', 'postgres.log'), 'utf8')).not.toBe('');
  await expect(recordOf(dir)).rejects.toThrow('no stack has its data');
});

interface Launched {
  readonly child: ChildProcess;
  readonly stdout: Promise<string>;
  readonly stderr: Promise<string>;
}

function launch(args: readonly string[], env?: NodeJS.ProcessEnv): Launched {
  const child = spawn(process.execPath, ['--', 'dist/cli/main.js', 'stack', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(env === undefined ? {} : { env }),
  });
  return { child, stdout: text(child.stdout), stderr: text(child.stderr) };
}

/** The record of the stack that has its data in `dir`, or in a folder of its own below. */
async function recordOf(dir: string): Promise<string> {
  for (const name of await readdir(RECORDS_DIR)) {
    const file = path.join(RECORDS_DIR, name);
    if ((await readRecord(file))?.dir.startsWith(dir) === true) return file;
  }
  throw new Error(`no stack has its data in ${dir}`);
}

/** With the watchdog, as recorded once all three are spawned, ready or not. */
async function recordedServers(dir: string): Promise<ProcessRecord[]> {
  return vi.waitFor(async () => {
    const processes = (await readRecord(await recordOf(dir)))?.processes ?? [];
    const names = processes.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['postgres', 'kafka', 'neo4j', 'watchdog']));
    return processes.filter(({ name }) => name !== 'launcher');
  }, PATIENCE);
}

/** The watchdog first, if at all: it acts on the launcher's death. */
async function kill(launcher: ChildProcess, watchdog?: ProcessRecord): Promise<void> {
  if (watchdog !== undefined) {
    process.kill(watchdog.pid, 'SIGKILL');
    await vi.waitFor(() => {
      expect(isRunning(watchdog)).toBe(false);
    }, PATIENCE);
  }
  launcher.kill('SIGKILL');
  await once(launcher, 'exit');
}

async function expectDataAfterKill({ env, services }: Stack): Promise<void> {
  const { databaseUrl, kafkaBrokers, ...graph } = serversOf(env);
  await query(databaseUrl, 'create table kept as select 42 as n');
  await topics(kafkaBrokers, 'kept');
  await cypher(graph, 'CREATE (k:Kept {n: 42}) RETURN k.n AS n');
  const all = Object.values(services);
  const pids = all.map((service) => service.pid());

  await Promise.all(all.map((service) => service.restart('kill')));

  expect(pids.filter((pid) => processStartTime(pid) !== undefined)).toEqual([]);
  expect(await query(databaseUrl, 'select n from kept')).toEqual([{ n: 42 }]);
  expect(await topics(kafkaBrokers)).toContain('kept');
  expect(await cypher(graph, 'MATCH (k:Kept) RETURN k.n AS n')).toEqual([42]);
}

function parse(lines: string): Record<string, string> {
  return Object.fromEntries(
    lines
      .trimEnd()
      .split('\n')
      .map((line): [string, string] => {
        const [name = '', ...value] = line.split('=');
        return [name, value.join('=')];
      }),
  );
}

async function onPath(program: string): Promise<string> {
  const found = spawn('/bin/sh', ['-c', `command -v ${program}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  return realpath((await text(found.stdout)).trim());
}
