/**
 * Which stacks run on this machine, and whose they are: so that no server outlives its launcher.
 *
 * Each stack has a record, a file in one folder for all: its data folder in the first line, then a line `name pid
 * started` for the launcher, the watchdog and each server. The start time keeps us from signalling a process that was
 * given the pid of a dead one.
 *
 * A stack ends in one of three ways: its launcher stops it; or the launcher dies and its watchdog notices; or both die
 * and the next start on this machine notices. The last two leave a kept folder as a crash of its servers would.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../core/errors.ts';
import { processStartTime } from './process-start.ts';

export interface ProcessRecord {
  readonly name: string;
  readonly pid: number;
  readonly started: string;
}

interface StackRecord {
  readonly dir: string;
  readonly processes: readonly ProcessRecord[];
}

export const RECORDS_DIR = path.join(tmpdir(), `eiq-platform-graph-${userInfo().uid}`);

/** The names of records end in one of these; the data folder of an ephemeral stack goes with its record. */
const KEPT = '.kept';
const EPHEMERAL = '.ephemeral';

/** Longer than PostgreSQL's immediate shutdown takes; what is left then is killed. */
const REAP_TIMEOUT_MS = 5_000;

/**
 * Ends the servers of the record $1 once standard input closes, which is when the launcher is gone, however it went. A
 * shell, because it costs a megabyte and owes nothing to the launcher's Node. Start times need no check here: until this
 * moment the launcher kept the record up to date.
 */
const WATCHDOG = `
cat >/dev/null
record=$1
servers() { sed 1d "$record" | grep -Ev '^(launcher|watchdog) '; }
servers | while read -r name pid started; do
  if [ "$name" = postgres ]; then kill -s QUIT "$pid"; else kill -s KILL "$pid"; fi
done
servers | while read -r name pid started; do
  tries=0
  while kill -0 "$pid" && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
  kill -s KILL "$pid"
done
case $record in *${EPHEMERAL}) rm -rf "$(head -n 1 "$record")" ;; esac
rm -f "$record"
`;

/** A stack's folder, this process's own from its construction to its release. */
export class StackFolder {
  readonly dir: string;
  readonly #record: string;
  readonly #watchdog: ChildProcess;
  readonly #servers = new Map<string, number>();

  constructor(dir: string, record: string) {
    this.dir = dir;
    this.#record = record;
    // Detached: Ctrl-C in a terminal is for the launcher alone.
    this.#watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'eiq-platform-stack-watchdog', record], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
      env: { PATH: '/usr/bin:/bin' },
    });
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
    const lines = [...processes].map(([name, pid]) => `${name} ${pid} ${processStartTime(pid) ?? '-'}`);
    const unfinished = `${this.#record}.new`;
    writeFileSync(unfinished, [this.dir, ...lines, ''].join('\n'), { mode: 0o600 });
    renameSync(unfinished, this.#record);
  }

  /** Once all servers are down. `keepLogs` leaves an ephemeral folder to the first start after this process's end. */
  async release(options: { keepLogs: boolean }): Promise<void> {
    this.#watchdog.kill('SIGKILL');
    if (!options.keepLogs || !isEphemeral(this.#record)) await forget(this.#record, this.dir);
  }
}

/**
 * Claims `dir`; or, if ephemeral, a new folder in it or else in the system's temporary folder. Throws STACK_FAILED if
 * another launcher has it.
 */
export async function claimFolder(dir: string | undefined, ephemeral: boolean): Promise<StackFolder> {
  if (dir !== undefined) await mkdir(dir, { recursive: true });
  const place = await realpath(
    dir === undefined || ephemeral ? await mkdtemp(path.join(dir ?? tmpdir(), 'eiq-platform-stack-')) : dir,
  );
  if (ephemeral) await chmod(place, 0o711); // PostgreSQL may run as another user, who has to pass through
  const hash = createHash('sha256').update(place).digest('hex').slice(0, 16);
  const record = path.join(await recordsDir(), `${hash}${ephemeral ? EPHEMERAL : KEPT}`);
  const launcher = (await readRecord(record))?.processes.find(isLauncher);
  if (launcher !== undefined && isRunning(launcher)) {
    throw new AppError('STACK_FAILED', `Process ${launcher.pid} runs a stack from ${place} already.`);
  }
  return new StackFolder(place, record);
}

/** Ends the servers of launchers that are gone, and removes what was ephemeral. Running stacks are left alone. */
export async function reapDeadStacks(): Promise<void> {
  for (const name of await readdir(await recordsDir())) {
    if (name.endsWith(KEPT) || name.endsWith(EPHEMERAL)) await reap(path.join(RECORDS_DIR, name));
  }
}

async function reap(file: string): Promise<void> {
  const record = await readRecord(file);
  if (record === undefined) return; // another start, or its watchdog, was first
  const { dir, processes } = record;
  if (processes.some((one) => isLauncher(one) && isRunning(one))) return;
  for (const one of processes) signalIfRunning(one, one.name === 'postgres' ? 'SIGQUIT' : 'SIGKILL');
  const deadline = Date.now() + REAP_TIMEOUT_MS;
  while (processes.some(isRunning) && Date.now() < deadline) await delay(50);
  for (const one of processes) signalIfRunning(one, 'SIGKILL');
  await forget(file, dir);
}

async function forget(record: string, dir: string): Promise<void> {
  if (isEphemeral(record)) {
    // A backend that has not yet noticed its postmaster's death may still create a file.
    await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
  await rm(record, { force: true });
}

function isEphemeral(record: string): boolean {
  return record.endsWith(EPHEMERAL);
}

export async function readRecord(file: string): Promise<StackRecord | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const [dir = '', ...lines] = text.split('\n');
  const processes = lines.flatMap((line) => {
    const [, name, pid, started] = /^(\w+) (\d+) (.+)$/.exec(line) ?? [];
    return name === undefined || pid === undefined || started === undefined
      ? []
      : [{ name, pid: Number(pid), started }];
  });
  return { dir, processes };
}

function isLauncher({ name }: ProcessRecord): boolean {
  return name === 'launcher';
}

export function isRunning({ pid, started }: ProcessRecord): boolean {
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
async function recordsDir(): Promise<string> {
  await mkdir(RECORDS_DIR, { recursive: true, mode: 0o711 });
  const found = await lstat(RECORDS_DIR);
  if (!found.isDirectory() || found.uid !== userInfo().uid) {
    throw new AppError('STACK_FAILED', `${RECORDS_DIR} belongs to another user: remove it.`);
  }
  return RECORDS_DIR;
}
