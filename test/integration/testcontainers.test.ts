import { test } from 'vitest';
import { startContainers, whyNoDockerEngine } from '../support/containers.ts';
import { expectServing } from '../support/serving.ts';
import { serversOf } from '../support/servers.ts';

const reason = await whyNoDockerEngine();
if (reason !== undefined) process.stderr.write(`testcontainers: skipped, ${reason}\n`);

test('the servers start as containers and serve', { timeout: 300_000 }, async (context) => {
  context.skip(reason !== undefined, reason);
  const containers = await startContainers();
  try {
    await expectServing(serversOf(containers.env));
  } finally {
    await containers.stop();
  }
});
