/** `demo`: the whole path on this machine, checked at the end. */
import { type Command, InvalidArgumentError } from 'commander';
import type { DemoOptions } from './demo.ts';

export function registerDemo(program: Command): void {
  program
    .command('demo')
    .description('start servers, replicate a sample platform under load, and check the graph row by row')
    .option('--entities <n>', 'size of the generated platform', count, 5000)
    .option('--seconds <n>', 'how long the live workload runs', count, 10)
    .option('--rate <n>', 'changes per second of the live workload', count, 500)
    .option('--stix <file>', 'load this STIX 2.x bundle (.json or .json.gz) instead of generated data')
    .option('--keep', 'stay up at the end and print how to connect', false)
    .action(async (options: DemoOptions) => {
      const { runDemo } = await import('./demo.ts');
      process.exitCode = await runDemo(options);
    });
}

function count(text: string): number {
  const value = Number(text);
  if (!/^\d{1,8}$/.test(text) || value < 1) throw new InvalidArgumentError('Give a whole number above 0.');
  return value;
}
