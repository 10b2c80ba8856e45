#!/usr/bin/env -S node --
import { Command } from 'commander';
import { describeError } from '../core/errors.ts';
import { registerStack } from './stack-command.ts';

const program = new Command('eiq-platform');
registerStack(program);
try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${describeError(error)}\n`);
  process.exitCode = 1;
}
