/** `graph`: the replicator's commands. Logs go to stderr, results to stdout. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { isTimeZone } from '../core/instants.ts';
import type { BackfillOptions } from './backfill.ts';
import type { RebuildCommandOptions } from './rebuild.ts';
import type { RecoverOptions } from './recover.ts';
import type { ReplayCommandOptions } from './replay.ts';
import type { SyncDataOptions } from './sync-data.ts';

export function registerGraph(program: Command): void {
  const graph = program
    .command('graph')
    .description('replicate PostgreSQL to the Neo4j graph, and look at it');

  for (const [name, description] of [
    ['publish', 'publish every change of the mapped tables to Kafka (service)'],
    ['project', 'apply the topics to the graph (service)'],
    ['replicate', 'publish and project in one process (service)'],
  ] as const) {
    const service = graph.command(name).description(description);
    if (name !== 'project')
      service
        .option('--manage-publication', 'add tables that are missing from the publication', false)
        .option('--no-initial-load', 'leave out the rows that are older than the slot');
    service.action(async (options: { managePublication?: boolean; initialLoad?: boolean }) => {
      const { runService } = await import('./graph-services.ts');
      const { managePublication = false, initialLoad = true } = options;
      await runService(name, { managePublication, initialLoad });
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

  graph
    .command('backfill')
    .description('publish rows again, as they are now: all, or those that the options choose')
    .option('--table <name>', 'only this table')
    .option('--entity-types <types>', 'only entities of these types, separated by commas')
    .option('--ids-file <path>', 'only these ids, one a line (of the entities, or of --table)')
    .option('--changed-after <date>', 'only rows updated after yyyy-mm-dd[ hh:mm[:ss]]')
    .option('--timezone <zone>', 'of that date, an IANA name', timeZone, 'UTC')
    .option('--wait', 'until the graph has them', false)
    .option('--timeout <seconds>', 'with --wait: give up after this time', seconds, 3600)
    .action(async (options: BackfillOptions) => {
      const { runBackfill } = await import('./backfill.ts');
      await runBackfill(options);
    });

  graph
    .command('recover')
    .description('after a gap: say what is wrong, begin anew, and prove the graph again')
    .option('--yes', 'begin without asking', false)
    .option(
      '--replaces <system-identifier/database>',
      'the source whose data the graph holds: this database has taken its place',
    )
    .action(async (options: RecoverOptions) => {
      const { runRecover } = await import('./recover.ts');
      await runRecover(options);
    });

  graph
    .command('replay')
    .description('apply topics again over the live graph, beside the stream')
    .option('--topics <list>', 'only these topics or tables, separated by commas')
    .option('--from <where>', 'earliest, yyyy-mm-dd[ hh:mm[:ss]] or topic:partition:offset[,…]', 'earliest')
    .option('--timezone <zone>', 'of that date, an IANA name', timeZone, 'UTC')
    .option('--dry-run', 'write nothing, count what would change', false)
    .option('--max-wait <seconds>', 'for the graph to have all that was committed before', seconds, 60)
    .option('--restart', 'give up what an unfinished replay has left', false)
    .action(async (options: ReplayCommandOptions) => {
      const { runReplay } = await import('./replay.ts');
      await runReplay(options);
    });

  const deadLetters = graph
    .command('dead-letters')
    .description('records that could not be applied: list, redrive or discard them');
  deadLetters
    .command('list')
    .description('those that are open, oldest first')
    .option('--json', 'as one JSON array', false)
    .action(async (options: { json: boolean }) => {
      const { listDeadLetters } = await import('./dead-letters.ts');
      await listDeadLetters(options.json);
    });
  deadLetters
    .command('redrive')
    .description('ask for their rows again, and settle those that do not fail again')
    .option('--id <id...>', 'only these')
    .option('--timeout <seconds>', 'for the graph to have them', seconds, 60)
    .action(async (options: { id?: readonly string[]; timeout: number }) => {
      const { redriveDeadLetters } = await import('./dead-letters.ts');
      await redriveDeadLetters(options.id ?? [], options.timeout * 1000);
    });
  deadLetters
    .command('discard')
    .description('settle them without doing anything')
    .requiredOption('--id <id...>', 'these')
    .action(async (options: { id: readonly string[] }) => {
      const { discardDeadLetters } = await import('./dead-letters.ts');
      await discardDeadLetters(options.id);
    });

  graph
    .command('sync-data')
    .description('compare all entities of PostgreSQL and the graph, report the differences, and repair them')
    .requiredOption('--check-results-file <path>', 'where to save the report: .json or .txt')
    .option('--batch-size <entities>', 'most entities in a batch', positive, 1000)
    .option('--changed-after <date>', 'only entities updated after yyyy-mm-dd[ hh:mm[:ss]]')
    .option('--timezone <zone>', 'of that date, an IANA name', timeZone, 'UTC')
    .option('--dry-run', 'report only, repair nothing', false)
    .option('--entity-types <types>', 'only these types, separated by commas')
    .option(
      '--max-wait <seconds>',
      'how long a difference may take to be confirmed, and a repair to be seen',
      seconds,
      60,
    )
    .addOption(
      new Option('--max-repairs <entities>', 'repair nothing if more than this differ')
        .argParser(positive)
        .default(Infinity, 'no limit'),
    )
    .option('--deep', 'compare content too where timestamps are equal', false)
    .option('--whole-graph', 'compare all other mapped tables as well, relations and links included', false)
    .option('--print-diffs', 'show in the report what differs in each outdated or strange entity', false)
    .option('--fail-on-drift', 'with --dry-run: exit 3 if there is drift', false)
    .addOption(
      new Option('--throttle [ms]', 'pause the scan while replication lags more (1000 if not given)')
        .preset('1000')
        .argParser(positive),
    )
    .option(
      '--full-speed',
      'neither rest between pages nor yield the processor while changes are applied',
      false,
    )
    .option(
      '--direct',
      'without the stream: PostgreSQL and Neo4j alone, repairs are written to the graph',
      false,
    )
    .option('--resume', 'go on where a run with these options was ended', false)
    .action(async (options: SyncDataOptions) => {
      const { runSyncData } = await import('./sync-data.ts');
      await runSyncData(options);
    });

  graph
    .command('rebuild')
    .description('build a graph from the topics, beside the one in use or in its place, and prove it')
    .option('--into <uri[/database]>', 'another, empty graph')
    .option('--in-place', 'empty the graph in use and build it again', false)
    .option('--follow', 'keep it current until stopped', false)
    .option('--force-empty', 'remove what the graph holds of this mapping first', false)
    .option('--republish', 'publish all rows again first: for topics that lack some of their history', false)
    .option('--yes', 'with --in-place: without asking', false)
    .option('--max-wait <seconds>', 'for the publisher, and for a difference to be confirmed', seconds, 60)
    .action(async (options: RebuildCommandOptions) => {
      const { runRebuild } = await import('./rebuild.ts');
      await runRebuild(options);
    });
}

function positive(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || !Number.isSafeInteger(value))
    throw new InvalidArgumentError('Give a whole number of 1 or more.');
  return value;
}

function seconds(text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value <= 0 || value > 2_000_000) {
    throw new InvalidArgumentError('Give a number of seconds above 0.');
  }
  return value;
}

function timeZone(text: string): string {
  if (!isTimeZone(text)) throw new InvalidArgumentError('Use an IANA name such as Europe/Amsterdam.');
  return text;
}
