/**
 * One server process: spawn → probe until a client is served → run; stopped by signal, killed after a deadline.
 *
 * Guarantee: whenever a process exists, its pid is recorded in the stack's folder. A server that ends by itself is
 * reported and stays down until it is started again, on the same port and data.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../core/errors.ts';
import type { SystemUser } from './system-user.ts';

export type ServerName = 'postgres' | 'kafka' | 'neo4j';

/** fast: clean; immediate: at once, recovery at the next start; kill: SIGKILL, as the kernel would. */
export type StopMode = 'fast' | 'immediate' | 'kill';

export interface StackService {
  readonly name: ServerName;
  readonly port: number;
  /** Throws STACK_FAILED while the server is down. */
  pid(): number;
  start(signal?: AbortSignal): Promise<void>;
  stop(mode?: StopMode): Promise<void>;
  restart(mode?: StopMode): Promise<void>;
}

export interface ServerPlan {
  readonly name: ServerName;
  readonly port: number;
  readonly command: readonly [string, ...string[]];
  readonly user?: SystemUser;
  readonly logFile: string;
  readonly signals: Readonly<Record<StopMode, NodeJS.Signals>>;
  /** Makes whatever has to be there before a start and is not yet. */
  readonly prepare: (signal: AbortSignal) => Promise<void>;
  /** Resolves if the server serves a client, rejects if it does not yet; bounded in time by itself. */
  readonly probe: () => Promise<void>;
}

export interface ServerEvents {
  readonly spawned: (name: ServerName, pid: number) => void;
  readonly ended: (name: ServerName, how: { expected: boolean; logFile: string }) => void;
}

const READY_TIMEOUT_MS = 120_000;
const PROBE_INTERVAL_MS = 100;
const STOP_TIMEOUT_MS = 60_000;
/** After a kill, PostgreSQL's orphaned backends hold its shared memory until they notice; meanwhile it refuses to start. */
const START_AGAIN_MS = 10_000;

interface Running {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly exited: Promise<unknown>;
  expected: boolean;
}

export class Server implements StackService {
  readonly name: ServerName;
  readonly port: number;
  readonly #plan: ServerPlan;
  readonly #events: ServerEvents;
  #running: Running | undefined;
  #killed = false;

  constructor(plan: ServerPlan, events: ServerEvents) {
    this.name = plan.name;
    this.port = plan.port;
    this.#plan = plan;
    this.#events = events;
  }

  pid(): number {
    if (this.#running === undefined) throw new AppError('STACK_FAILED', `${this.name} is not running.`);
    return this.#running.pid;
  }

  async start(signal: AbortSignal = new AbortController().signal): Promise<void> {
    if (this.#running !== undefined) return;
    await this.#plan.prepare(signal);
    const startAgainUntil = Date.now() + (this.#killed ? START_AGAIN_MS : 0);
    for (;;) {
      const running = await this.#spawn();
      const ready = await this.#ready(running, signal);
      if (ready) break;
      if (Date.now() > startAgainUntil) throw this.#failure('ended before it was ready');
      await delay(PROBE_INTERVAL_MS, undefined, { signal });
    }
    this.#killed = false;
  }

  async stop(mode: StopMode = 'fast'): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    running.expected = true;
    this.#killed = mode === 'kill';
    running.child.kill(this.#plan.signals[mode]);
    const deadline = new AbortController();
    const overdue = delay(STOP_TIMEOUT_MS, 'overdue', { signal: deadline.signal }).catch(() => undefined);
    if ((await Promise.race([running.exited, overdue])) === 'overdue') running.child.kill('SIGKILL');
    deadline.abort();
    await running.exited;
  }

  async restart(mode: StopMode = 'fast'): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  async #spawn(): Promise<Running> {
    const { name, command, user, logFile } = this.#plan;
    const [file, ...args] = command;
    const log = openSync(logFile, 'a', 0o600);
    // Detached: Ctrl-C in a terminal is for the launcher, which stops its servers in its own way.
    const child = spawn(file, args, { stdio: ['ignore', log, log], detached: true, ...user });
    closeSync(log);
    if (child.pid === undefined) {
      const [cause] = (await once(child, 'error')) as [unknown];
      throw this.#failure('could not be executed', cause);
    }
    const running: Running = {
      child,
      pid: child.pid,
      expected: false,
      exited: new Promise((resolve) => child.once('exit', resolve)),
    };
    this.#running = running;
    this.#events.spawned(name, running.pid);
    child.once('exit', () => {
      this.#running = undefined;
      this.#events.ended(name, { expected: running.expected, logFile });
    });
    return running;
  }

  /** False if the process ended first. */
  async #ready(running: Running, signal: AbortSignal): Promise<boolean> {
    const deadline = Date.now() + READY_TIMEOUT_MS;
    while (this.#running === running) {
      try {
        await this.#plan.probe();
        return true;
      } catch (cause) {
        if (Date.now() > deadline) throw this.#failure('did not get ready in time', cause);
      }
      await delay(PROBE_INTERVAL_MS, undefined, { signal });
    }
    return false;
  }

  #failure(what: string, cause?: unknown): AppError {
    return new AppError('STACK_FAILED', `${this.name} ${what}; its log is ${this.#plan.logFile}.`, { cause });
  }
}
