/** `graph status` of publisher and projector as processes of their own: it is healthy only while both run. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPlatform, type Platform, type Process } from '../support/platform.ts';

let platform: Platform;
let publisher: Process;
let projector: Process;
beforeAll(async () => {
  platform = await createPlatform('status');
  publisher = platform.start(['publish']);
  projector = platform.start(['project']);
  await publisher.logged(/streaming/);
  await projector.logged(/partitions assigned/);
  await platform.expectEqual();
});
afterAll(() => platform.dispose());

const status = () => platform.run(['status']);
const json = async () => JSON.parse((await platform.run(['status', '--json'])).stdout) as unknown;

it('both', async () => {
  const { code, stdout } = await status();
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^projector at work$/m) as string,
  });
  expect(await json()).toMatchObject({ healthy: true, projectorAtWork: true });
});

it('no projector, while nothing is behind', async () => {
  await projector.stop();
  const { code, stdout } = await status();
  expect({ code, stdout }).toEqual({
    code: 1,
    stdout: expect.stringMatching(/^projector NOT RUNNING: no projector is running$/m) as string,
  });
  expect(await json()).toMatchObject({ healthy: false, projectorAtWork: false, lagSeconds: 0 });
});

it('a projector alone', async () => {
  await publisher.stop();
  await platform.start(['project']).logged(/partitions assigned/);
  const { code, stdout } = await status();
  expect({ code, stdout }).toEqual({ code: 1, stdout: expect.stringMatching(/NOT ACTIVE/) as string });
  expect(stdout).toMatch(/^projector at work$/m);
});

it('a projector cannot be told of without Kafka, nor without Neo4j', async () => {
  for (const down of [{ KAFKA_BROKERS: '127.0.0.1:1' }, { NEO4J_URI: 'bolt://127.0.0.1:1' }]) {
    const { code, stdout } = await platform.run(['status'], down);
    expect({ code, stdout }).toEqual({
      code: 1,
      stdout: expect.stringMatching(/^projector unknown$/m) as string,
    });
  }
});
