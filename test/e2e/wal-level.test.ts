/** A PostgreSQL whose wal_level is not logical: its own, since that takes a restart. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPlatform, type Platform } from '../support/platform.ts';
import { postgresServers, type PostgresServers } from '../support/postgres-servers.ts';
import { servers } from '../support/servers.ts';

let cluster: PostgresServers;
let platform: Platform;
beforeAll(async () => {
  cluster = await postgresServers();
  const { url } = await cluster.create('replica', { wal_level: 'replica' });
  platform = await createPlatform('wal', { ...servers(), databaseUrl: url });
});
afterAll(async () => {
  await platform.dispose();
  await cluster.stop();
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
