/**
 * The servers of a test run: those that the environment names (DATABASE_URL, KAFKA_BROKERS and NEO4J_URI), else
 * containers (TEST_SERVERS=testcontainers), else the local stack. Vitest calls this for each project in one process:
 * the first call starts them, the last teardown stops them.
 */
import type { TestProject } from 'vitest/node';
import { startStack } from '../../src/stack/stack.ts';
import { type Servers, serversOf } from './servers.ts';

interface Started {
  readonly servers: Servers;
  stop(): Promise<void>;
}

interface Shared {
  users: number;
  readonly started: Promise<Started>;
}

/** On the process, since each project loads this module anew. */
const shared = globalThis as typeof globalThis & { eiqTestServers?: Shared | undefined };

export async function setup(project: TestProject): Promise<void> {
  const own = (shared.eiqTestServers ??= { users: 0, started: start() });
  own.users += 1;
  project.provide('servers', (await own.started).servers);
}

export async function teardown(): Promise<void> {
  const own = shared.eiqTestServers;
  if (own === undefined) return;
  own.users -= 1;
  if (own.users > 0) return;
  shared.eiqTestServers = undefined;
  await (await own.started).stop();
}

async function start(): Promise<Started> {
  const { DATABASE_URL, KAFKA_BROKERS, NEO4J_URI } = process.env;
  if (DATABASE_URL !== undefined && KAFKA_BROKERS !== undefined && NEO4J_URI !== undefined) {
    return { servers: serversOf(process.env), stop: () => Promise.resolve() };
  }
  if (process.env['TEST_SERVERS'] === 'testcontainers') {
    const { startContainers } = await import('./containers.ts');
    const containers = await startContainers();
    return { servers: serversOf(containers.env), stop: () => containers.stop() };
  }
  const stack = await startStack({ onProgress: (line) => process.stderr.write(`stack: ${line}\n`) });
  return { servers: serversOf(stack.env), stop: () => stack.stop() };
}
