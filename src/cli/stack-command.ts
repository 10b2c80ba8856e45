/** `stack`: the local servers, for as long as the command runs. */
import { once } from 'node:events';
import { rename, rm, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { AppError } from '../core/errors.ts';

interface StackCommandOptions {
  readonly dir?: string;
  readonly ephemeral?: boolean;
  readonly envFile?: string;
}

export function registerStack(program: Command): void {
  program
    .command('stack')
    .description('run PostgreSQL, Kafka and Neo4j on free local ports until interrupted')
    .option('--dir <dir>', 'where to keep the data (default: .stack)')
    .option('--ephemeral', 'remove the data at the end')
    .option('--env-file <file>', 'also write the NAME=value lines to this file')
    .action(async (options: StackCommandOptions) => {
      await runStack(options);
    });
}

async function runStack({ dir, ephemeral = false, envFile }: StackCommandOptions): Promise<void> {
  const { startStack } = await import('../stack/stack.ts');
  const interrupted = new AbortController();
  const interrupt = (): void => {
    interrupted.abort();
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  const publish = envFile === undefined ? undefined : await openEnvFile(envFile);
  const place = ephemeral ? dir : (dir ?? '.stack');
  try {
    const stack = await startStack({
      ...(place === undefined ? {} : { dir: place }),
      ephemeral,
      signal: interrupted.signal,
      onProgress: (line) => process.stderr.write(`${line}\n`),
    });
    try {
      const lines = Object.entries(stack.env).map(([name, value]) => `${name}=${value}\n`);
      await publish?.(lines.join(''));
      process.stdout.write(lines.join(''));
      if (!interrupted.signal.aborted) await once(interrupted.signal, 'abort');
    } finally {
      await stack.stop();
    }
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
  }
}

/**
 * Takes an older file away, so that whoever waits for the file reads this stack's; returns what writes it, whole and for
 * this user alone: it holds passwords. Throws USAGE at once rather than after the start.
 */
async function openEnvFile(file: string): Promise<(text: string) => Promise<void>> {
  const unfinished = `${file}.${process.pid}.new`;
  try {
    await rm(file, { force: true });
    await writeFile(unfinished, '', { mode: 0o600 });
    await rm(unfinished);
  } catch (cause) {
    throw new AppError('USAGE', 'The file that --env-file names cannot be written.', { cause });
  }
  return async (text) => {
    await writeFile(unfinished, text, { mode: 0o600 });
    await rename(unfinished, file);
  };
}
