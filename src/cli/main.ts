#!/usr/bin/env -S node --
/** `eiq-platform`: each command imports what it needs when it runs, so that `--help` answers at once. */
import { Command, CommanderError } from 'commander';
import { describeError, isAppError } from '../core/errors.ts';
import { registerDemo } from './demo-command.ts';
import { registerGraph } from './graph-command.ts';
import { registerStack } from './stack-command.ts';

const FAILED = 1;
const USAGE = 2;
/** For what is open still to be closed; at a server that says nothing it would keep the process for ever. */
const LEAVE_MS = 1000;

const program = new Command('eiq-platform')
  .description('The platform graph: PostgreSQL replicated to Neo4j, provably right.')
  .configureOutput({
    // What may be meant instead comes in a line of its own.
    outputError(text, write) {
      write(`${text.trim().replaceAll('\n', ' ')}\n`);
    },
  })
  .exitOverride();
registerGraph(program);
registerStack(program);
registerDemo(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : USAGE;
  else {
    process.stderr.write(`${describeError(error)}\n`);
    process.exitCode = isAppError(error, 'USAGE') ? USAGE : FAILED;
  }
}
setTimeout(() => process.exit(), LEAVE_MS).unref();
