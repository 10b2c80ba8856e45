import { Command } from 'commander';
import { expect, it } from 'vitest';
import { registerGraph } from '../../src/cli/graph-command.ts';

function syncData(): Command {
  const program = new Command();
  registerGraph(program);
  const [graph] = program.commands;
  const command = graph?.commands.find((one) => one.name() === 'sync-data');
  if (command === undefined) throw new Error('there is one');
  return command;
}

it('sync-data has the defaults of the specification, and its own', () => {
  const command = syncData();
  expect(command.opts()).toEqual({
    batchSize: 1000,
    dryRun: false,
    printDiffs: false,
    timezone: 'UTC',
    maxWait: 60,
    maxRepairs: Infinity,
    deep: false,
    wholeGraph: false,
    failOnDrift: false,
    fullSpeed: false,
    direct: false,
    resume: false,
  });
  expect(command.parseOptions(['--throttle'])).toMatchObject({ operands: [], unknown: [] });
  expect(command.opts()).toMatchObject({ throttle: 1000 });
});

it('sync-data --help names every option of the specification, with its default', () => {
  const help = syncData().configureHelp({ helpWidth: 500 }).helpInformation();
  for (const option of [
    /^ +--check-results-file <path> .*\.json or \.txt/m,
    /^ +--batch-size <entities> .*\(default: 1000\)/m,
    /^ +--changed-after <date> .*yyyy-mm-dd\[ hh:mm\[:ss\]\]/m,
    /^ +--dry-run .*\(default: false\)/m,
    /^ +--entity-types <types> .*commas/m,
    /^ +--print-diffs .*\(default: false\)/m,
  ])
    expect(help).toMatch(option);
});
