import { once } from 'node:events';
import { createRequire } from 'node:module';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createKafka } from '../../src/kafka/client.ts';
import { wrapKafka } from '../../src/kafka/errors.ts';
import { GroupMember } from '../../src/kafka/group.ts';
import { createPublisher } from '../../src/kafka/publisher.ts';
import { readLatest } from '../../src/kafka/read-topic.ts';
import { PATIENCE, silent, type TestKafka, testKafka } from '../support/kafka.ts';
import { servers } from '../support/servers.ts';

let kafka: TestKafka;
beforeEach(async () => {
  kafka = await testKafka();
});
afterEach(async () => {
  await kafka.dispose();
});

describe('a connection to Kafka', () => {
  it('sets no timers while it is idle', async () => {
    const { close } = await kafka.client.connect();
    const timers = vi.spyOn(globalThis, 'setTimeout');
    await new Promise((resolve) => setTimeout(resolve, 300));
    const set = timers.mock.calls.length;
    timers.mockRestore();
    await close();
    expect(set).toBeLessThan(10);
  });

  it('still sends what waited for the broker’s throttling to end', async () => {
    const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as new (
      options: object,
    ) => {
      maybeThrottle: (ms: number) => void;
      push: (request: object) => void;
      destroy: () => void;
    };
    const logger = { debug: () => undefined };
    const queue = new RequestQueue({ maxInFlightRequests: null, requestTimeout: 1_000, logger });
    const sendRequest = vi.fn();
    queue.maybeThrottle(30);
    queue.push({ entry: { correlationId: 1 }, expectResponse: true, sendRequest });
    expect(sendRequest).not.toHaveBeenCalled();
    await vi.waitFor(() => {
      expect(sendRequest).toHaveBeenCalledOnce();
    }, PATIENCE);
    queue.destroy();
  });

  it('ends promptly when it is closed while an answer is due', async () => {
    const topics = [await kafka.topic()];
    const group = {
      groupId: kafka.name('group'),
      topics,
      sessionTimeoutMs: 6_000,
      rebalanceTimeoutMs: 60_000,
    };
    const [here, there] = await Promise.all([
      kafka.client.connect({ topics }),
      kafka.client.connect({ topics }),
    ]);
    const member = new GroupMember(group);
    await vi.waitFor(() => member.join(here.cluster), { timeout: 10_000, interval: 100 });
    // The group waits for the member that has joined to join again.
    const joining = new GroupMember(group)
      .join(there.cluster)
      .catch((error: unknown) => wrapKafka(error, 'join').code);
    await vi.waitFor(async () => {
      expect(await member.heartbeat()).toBe('rejoin');
    }, PATIENCE);
    const started = performance.now();
    await there.close();
    expect(await joining).toBe('KAFKA_UNREACHABLE');
    expect(performance.now() - started).toBeLessThan(5_000);
    await member.leave();
    await here.close();
  });
});

describe('what is wrong with a connection is told by its code', () => {
  const open = (options: Partial<Parameters<typeof createKafka>[0]>) =>
    createPublisher(
      createKafka({ brokers: servers().kafkaBrokers.split(','), clientId: 'test', ...options }, silent),
      { topics: [] },
      silent,
    );

  it('nobody listens', async () => {
    await expect(open({ brokers: ['127.0.0.1:1'] })).rejects.toMatchObject({ code: 'KAFKA_UNREACHABLE' });
  });

  it('it takes connections, but does not answer by the deadline', async () => {
    const sockets: Socket[] = [];
    const hung = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
    await once(hung, 'listening');
    const { port } = hung.address() as AddressInfo;
    const client = createKafka({ brokers: [`127.0.0.1:${port}`], clientId: 'test' }, silent);
    const read = (signal: AbortSignal) => readLatest(client, 'topic', signal, String);
    const started = performance.now();
    try {
      await expect(read(AbortSignal.timeout(200))).rejects.toMatchObject({
        code: 'KAFKA_UNREACHABLE',
        message: 'Kafka does not answer: topic topic could not be read in time.',
      });
      await expect(read(AbortSignal.abort('told to stop'))).rejects.toBe('told to stop');
      expect(performance.now() - started).toBeLessThan(5_000);
    } finally {
      for (const socket of sockets) socket.destroy();
      hung.close();
    }
  });

  it('the broker has no SASL', async () => {
    const sasl = { mechanism: 'plain', username: 'u', password: 'canary-password' } as const;
    const error: unknown = await open({ sasl }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'KAFKA_AUTH' });
    expect(String(error)).not.toContain('canary');
  });

  it('the topic is missing', async () => {
    const topics = [kafka.name('missing')];
    await expect(createPublisher(kafka.client, { topics }, silent)).rejects.toMatchObject({
      code: 'KAFKA_TOPIC',
    });
  });
});
