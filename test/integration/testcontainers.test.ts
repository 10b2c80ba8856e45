import { expect, test } from 'vitest';
import { startContainers, whyNoDockerEngine } from '../support/containers.ts';
import { expectServing } from '../support/serving.ts';
import { serversOf } from '../support/servers.ts';

const reason = await whyNoDockerEngine();

test(
  `the servers start as containers${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  { timeout: 300_000 },
  async (context) => {
    context.skip(reason !== undefined, reason);
    const containers = await startContainers();
    try {
      await expectServing(serversOf(containers.env));
      expect(Object.keys(containers.env)).toHaveLength(6);
    } finally {
      await containers.stop();
    }
  },
);
