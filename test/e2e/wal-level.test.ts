/** A PostgreSQL whose wal_level is not logical: its own stack, since that takes a restart. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Stack, startStack } from '../../src/stack/stack.ts';
import { createPlatform, type Platform } from '../support/platform.ts';
import { serversOf } from '../support/servers.ts';

let stack: Stack;
let platform: Platform;
beforeAll(async () => {
  stack = await startStack({ ephemeral: true });
  platform = await createPlatform('wal', serversOf(stack.env));
  await platform.sql.query(`alter system set wal_level = replica`);
  await stack.services.postgres.restart('fast');
});
afterAll(async () => {
  await platform.dispose();
  await stack.stop();
});

it.each(['publish', 'replicate'])('%s ends with one line that says what to do', async (command) => {
  const { code, stdout, stderr } = await platform.run([command]);
  const lines = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
  expect({ code, stdout, lines }).toEqual({
    code: 1,
    stdout: '',
    lines: [
      expect.stringMatching(/^wal_level is replica\. Set wal_level = logical .* restart PostgreSQL\.$/),
    ],
  });
  const { rows } = await platform.sql.query(`select from pg_publication`);
  expect(rows).toEqual([]);
});
