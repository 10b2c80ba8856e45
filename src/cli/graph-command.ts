/** `graph`: the replicator's commands. Logs go to stderr, results to stdout. */
import { type Command, InvalidArgumentError } from 'commander';

export function registerGraph(program: Command): void {
  const graph = program
    .command('graph')
    .description('replicate PostgreSQL to the Neo4j graph, and look at it');

  for (const [name, description] of [
    ['publish', 'publish every change of the mapped tables to Kafka (service)'],
    ['project', 'apply the topics to the graph (service)'],
    ['replicate', 'publish and project in one process (service)'],
  ] as const) {
    graph
      .command(name)
      .description(description)
      .option('--manage-publication', 'add tables that are missing from the publication', false)
      .action(async (options: { managePublication: boolean }) => {
        const { runService } = await import('./graph-services.ts');
        await runService(name, options);
      });
  }

  graph
    .command('wait')
    .description('wait until the graph has everything committed before this call')
    .option('--timeout <seconds>', 'give up after this time', seconds, 60)
    .action(async (options: { timeout: number }) => {
      const { runWait } = await import('./graph-reports.ts');
      await runWait(options.timeout * 1000);
    });

  graph
    .command('status')
    .description('show servers, slot, lag, progress and dead letters')
    .option('--json', 'as one JSON object', false)
    .action(async (options: { json: boolean }) => {
      const { runStatus } = await import('./graph-reports.ts');
      await runStatus(options.json);
    });
}

function seconds(text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value <= 0 || value > 2_000_000) {
    throw new InvalidArgumentError('Give a number of seconds above 0.');
  }
  return value;
}
