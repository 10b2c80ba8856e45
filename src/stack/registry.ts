/**
 * Which stacks run on this machine, and whose they are: so that no server outlives its launcher.
 *
 * Every stack has a folder with a file `processes`: one line `name pid started` for the launcher, the watchdog and each
 * server; the start time keeps us from signalling a process that was given the pid of a dead one. All folders are linked
 * from one runtime folder.
 *
 * A stack ends in one of three ways: its launcher stops it; or the launcher dies and its watchdog notices; or both die
 * and the next start on this machine notices. The last two leave a kept folder as a crash of its servers would.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../core/errors.ts';
import { processStartTime } from './process-start.ts';

interface ProcessRecord {
  readonly name: string;
  readonly pid: number;
  readonly started: string;
}

const RUNTIME_DIR = path.join(tmpdir(), `eiq-platform-graph-${userInfo().uid}`);
const PROCESSES = 'processes';

/** Longer than PostgreSQL's immediate shutdown takes; what is left then is killed. */
const REAP_TIMEOUT_MS = 5_000;

/** A link to a folder that goes with its stack ends so. */
const EPHEMERAL = '.ephemeral';

/**
 * Ends the servers of the folder $1 once standard input closes, which is when the launcher is gone, however it went; $2
 * is `ephemeral` or `kept`. A shell, because it costs a megabyte and owes nothing to the launcher's Node. Start times
 * need no check here: until this moment the launcher kept the list up to date.
 */
const WATCHDOG = `
cat >/dev/null
servers() { grep -Ev '^(launcher|watchdog) ' "$1/${PROCESSES}"; }
servers "$1" | while read -r name pid started; do
  if [ "$name" = postgres ]; then kill -s QUIT "$pid"; else kill -s KILL "$pid"; fi
done
servers "$1" | while read -r name pid started; do
  tries=0
  while kill -0 "$pid" && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
  kill -s KILL "$pid"
done
if [ "$2" = ephemeral ]; then rm -rf "$1"; else rm -f "$1/${PROCESSES}"; fi
`;

/** A stack's folder, this process's own from its construction to its release. */
export class StackFolder {
  readonly dir: string;
  readonly #link: string;
  readonly #watchdog: ChildProcess;
  readonly #servers = new Map<string, number>();

  constructor(dir: string, link: string) {
    this.dir = dir;
    this.#link = link;
    this.#watchdog = spawn(
      '/bin/sh',
      ['-c', WATCHDOG, 'eiq-platform-stack-watchdog', dir, link.endsWith(EPHEMERAL) ? 'ephemeral' : 'kept'],
      // Detached: Ctrl-C in a terminal is for the launcher alone.
      { stdio: ['pipe', 'ignore', 'ignore'], detached: true, env: { PATH: '/usr/bin:/bin' } },
    );
    this.#watchdog.unref();
    (this.#watchdog.stdin as Socket).unref();
    this.#write();
  }

  /** To be called right after a spawn or an exit (no pid): in between, nobody would know of the process. */
  record(name: string, pid?: number): void {
    if (pid === undefined) this.#servers.delete(name);
    else this.#servers.set(name, pid);
    this.#write();
  }

  #write(): void {
    const processes = new Map([['launcher', process.pid], ...this.#servers]);
    if (this.#watchdog.pid !== undefined) processes.set('watchdog', this.#watchdog.pid);
    const lines = [...processes].map(([name, pid]) => `${name} ${pid} ${processStartTime(pid) ?? '-'}\n`);
    const file = path.join(this.dir, PROCESSES);
    writeFileSync(`${file}.new`, lines.join(''), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }

  /** Once all servers are down. `keepLogs` leaves an ephemeral folder to the first start after this process's end. */
  async release(options: { keepLogs: boolean }): Promise<void> {
    this.#watchdog.kill('SIGKILL');
    if (!options.keepLogs) await forget(this.#link, this.dir);
  }
}

/**
 * Claims `dir`; or, if ephemeral, a new folder in it or else in the system's temporary folder. Throws STACK_FAILED if
 * another launcher has it.
 */
export async function claimFolder(dir: string | undefined, ephemeral: boolean): Promise<StackFolder> {
  if (dir !== undefined) await mkdir(dir, { recursive: true });
  const real = await realpath(
    dir === undefined || ephemeral ? await mkdtemp(path.join(dir ?? tmpdir(), 'eiq-platform-stack-')) : dir,
  );
  if (ephemeral) await chmod(real, 0o711); // PostgreSQL may run as another user, who has to pass through
  const launcher = (await readProcesses(real)).find(({ name }) => name === 'launcher');
  if (launcher !== undefined && isRunning(launcher)) {
    throw new AppError('STACK_FAILED', `Process ${launcher.pid} runs a stack from ${real} already.`);
  }
  const hash = createHash('sha256').update(real).digest('hex').slice(0, 16);
  const link = path.join(await runtimeDir(), `${hash}${ephemeral ? EPHEMERAL : ''}`);
  const folder = new StackFolder(real, link);
  await rm(link, { force: true });
  await symlink(real, link);
  return folder;
}

/** Ends the servers of launchers that are gone, and removes what was ephemeral. Running stacks are left alone. */
export async function reapDeadStacks(): Promise<void> {
  const folder = await runtimeDir();
  for (const name of await readdir(folder)) {
    const link = path.join(folder, name);
    const dir = await realpath(link).catch(() => undefined);
    if (dir === undefined) await rm(link, { force: true });
    else await reap(link, dir);
  }
}

async function reap(link: string, dir: string): Promise<void> {
  const processes = await readProcesses(dir);
  if (processes.some((record) => record.name === 'launcher' && isRunning(record))) return;
  for (const record of processes) {
    signalIfRunning(record, record.name === 'postgres' ? 'SIGQUIT' : 'SIGKILL');
  }
  const deadline = Date.now() + REAP_TIMEOUT_MS;
  while (processes.some(isRunning) && Date.now() < deadline) await delay(50);
  for (const record of processes) signalIfRunning(record, 'SIGKILL');
  await forget(link, dir);
}

async function forget(link: string, dir: string): Promise<void> {
  if (link.endsWith(EPHEMERAL)) {
    // A backend that has not yet noticed its postmaster's death may still create a file.
    await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  } else {
    await rm(path.join(dir, PROCESSES), { force: true });
  }
  await rm(link, { force: true });
}

async function readProcesses(dir: string): Promise<ProcessRecord[]> {
  const text = await readFile(path.join(dir, PROCESSES), 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => {
    const [, name, pid, started] = /^(\w+) (\d+) (.+)$/.exec(line) ?? [];
    return name === undefined || pid === undefined || started === undefined
      ? []
      : [{ name, pid: Number(pid), started }];
  });
}

function isRunning({ pid, started }: ProcessRecord): boolean {
  return processStartTime(pid) === started;
}

function signalIfRunning(record: ProcessRecord, signal: NodeJS.Signals): void {
  if (!isRunning(record)) return;
  try {
    process.kill(record.pid, signal);
  } catch {
    // It ended between the two lines.
  }
}

/** In a folder that all users write to, anyone could have put one of that name there. */
async function runtimeDir(): Promise<string> {
  await mkdir(RUNTIME_DIR, { recursive: true, mode: 0o711 });
  const found = await lstat(RUNTIME_DIR);
  if (!found.isDirectory() || found.uid !== userInfo().uid) {
    throw new AppError('STACK_FAILED', `${RUNTIME_DIR} belongs to another user: remove it.`);
  }
  return RUNTIME_DIR;
}
