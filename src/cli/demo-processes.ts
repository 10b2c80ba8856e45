/** The demo's other processes: the replicator and its commands, as on a platform host. */
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { AppError } from '../core/errors.ts';
import type { Stack } from '../stack/stack.ts';

const MAIN = join(import.meta.dirname, '../cli/main.js');

export interface Replicator {
  readonly log: string;
  /** Resolves once it has the slot: what commits from then on is replicated. */
  readonly streaming: (signal: AbortSignal) => Promise<void>;
  readonly failed: () => boolean;
  readonly stop: () => Promise<void>;
}

export function startReplicator(stack: Stack, log: string): Replicator {
  const child = spawn(process.execPath, [MAIN, 'graph', 'replicate'], {
    env: { ...stack.env, PATH: '' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  child.stderr.pipe(createWriteStream(log));
  const exited = once(child, 'exit');
  let stopping = false;
  let said = '';
  const streams = new Promise<void>((resolve) => {
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString('utf8');
      if (said.includes('"msg":"streaming"')) resolve();
    });
  });
  return {
    log,
    async streaming(signal) {
      const ended = exited.then(() => {
        throw new AppError(
          'STACK_FAILED',
          `The replicator ended: ${said.trimEnd().split('\n').at(-1) ?? ''}`,
        );
      });
      await Promise.race([streams, ended, once(signal, 'abort')]);
      signal.throwIfAborted();
    },
    failed: () => child.exitCode !== 0,
    async stop() {
      if (!stopping) child.kill('SIGTERM');
      stopping = true;
      await exited;
    },
  };
}

/** Runs `eiq-platform graph …` to its end and returns its stdout. Throws STACK_FAILED if it fails. */
export async function runGraph(stack: Stack, args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [MAIN, 'graph', ...args], {
    env: { ...stack.env, PATH: '', LOG_LEVEL: 'error' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new AppError('STACK_FAILED', `graph ${args.join(' ')} failed: ${stderr.trim()}`);
  return stdout;
}

/** Runs `graph wait`; seconds since `startedAt`. */
export async function caughtUp(stack: Stack, startedAt: number): Promise<number> {
  await runGraph(stack, ['wait', '--timeout', '120']);
  return (performance.now() - startedAt) / 1000;
}
