/** `stack`: the local servers, for as long as the command runs. */
import { rename, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';

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
  const kept = ephemeral ? dir : (dir ?? '.stack');
  try {
    const stack = await startStack({
      ...(kept === undefined ? {} : { dir: kept }),
      ephemeral,
      signal: interrupted.signal,
      onProgress: (line) => process.stderr.write(`${line}\n`),
    });
    const lines = Object.entries(stack.env).map(([name, value]) => `${name}=${value}\n`);
    if (envFile !== undefined) await writeWhole(envFile, lines.join(''));
    process.stdout.write(lines.join(''));
    await new Promise((resolve) => {
      if (interrupted.signal.aborted) resolve(undefined);
      interrupted.signal.addEventListener('abort', resolve, { once: true });
    });
    await stack.stop();
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
  }
}

/** A reader who waits for the file never sees half of it. It holds passwords. */
async function writeWhole(file: string, text: string): Promise<void> {
  const unfinished = `${file}.${process.pid}.new`;
  await writeFile(unfinished, text, { mode: 0o600 });
  await rename(unfinished, file);
}
