/** Kafka of the run's servers: topics of a test's own, and what only tests need to do to them. */
import { randomBytes } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { type Admin, ConfigResourceTypes, ConfigSource, type ITopicConfig, Kafka, logLevel } from 'kafkajs';
import { expect, vi } from 'vitest';
import { createKafka, type KafkaClient } from '../../src/kafka/client.ts';
import { offsetRanges } from '../../src/kafka/offsets.ts';
import { createPublisher, type OutgoingRecord } from '../../src/kafka/publisher.ts';
import { decodeBatches, type IncomingRecord } from '../../src/kafka/record-batch.ts';
import { fetchRequest } from '../../src/kafka/wire.ts';
import type { Log } from '../../src/runtime/log.ts';
import { servers } from './servers.ts';

const ignore = (): void => undefined;
export const silent: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore };

export interface TestKafka {
  readonly client: KafkaClient;
  readonly admin: Admin;
  /** A name that no other test uses. */
  readonly name: (what: string) => string;
  readonly topic: (partitions?: number, configs?: Readonly<Record<string, string>>) => Promise<string>;
  readonly publish: (records: readonly OutgoingRecord[]) => Promise<void>;
  /** Every record that the log of a partition still has. */
  readonly log: (topic: string, partition?: number) => Promise<IncomingRecord[]>;
  /** Deletes the test's topics; a connection that the test has leaked fails it. */
  readonly dispose: () => Promise<void>;
}

/** For `vi.waitFor`: what Kafka answers in a moment takes a second where all is busy, which is all that it waits by itself. */
export const PATIENCE = { timeout: 10_000, interval: 20 };

/** Compaction at once: every write closes the segment before it. */
export const COMPACT_SOON = {
  'cleanup.policy': 'compact',
  'segment.ms': '1',
  'min.cleanable.dirty.ratio': '0.001',
  'delete.retention.ms': '0',
};

export async function testKafka(): Promise<TestKafka> {
  const sockets = watchSockets();
  const client = createKafka({ brokers: servers().kafkaBrokers.split(','), clientId: 'test' }, silent);
  const admin = client.admin();
  await admin.connect();
  const prefix = `test-${randomBytes(5).toString('hex')}`;
  const topics: string[] = [];
  let named = 0;
  const name = (what: string): string => `${prefix}.${what}-${(named += 1)}`;

  return {
    client,
    admin,
    name,
    async topic(partitions = 1, configs = {}) {
      const topic = name('topic');
      topics.push(topic);
      const configEntries = Object.entries(configs).map(([key, value]) => ({ name: key, value }));
      await createTopic(admin, { topic, numPartitions: partitions, configEntries });
      return topic;
    },
    async publish(records) {
      const publisher = await createPublisher(
        client,
        { topics: [...new Set(records.map((r) => r.topic))] },
        silent,
      );
      await publisher.send(records);
      await publisher.close();
    },
    log: (topic, partition = 0) => readLog(client, topic, partition),
    async dispose() {
      if (topics.length > 0) await admin.deleteTopics({ topics });
      await admin.disconnect();
      await vi.waitFor(() => {
        expect(sockets.open().length).toBe(0);
      }, PATIENCE);
      sockets.stop();
    },
  };
}

/** The driver's own, which says nothing of topics that are gone. */
export function quietAdmin(): Admin {
  return new Kafka({ brokers: servers().kafkaBrokers.split(','), logLevel: logLevel.NOTHING }).admin();
}

/** It is known when resolved. The driver's own wait ends where a broker has not heard of the topic yet. */
export async function createTopic(admin: Admin, topic: ITopicConfig): Promise<void> {
  await admin.createTopics({ topics: [topic], waitForLeaders: false });
  await vi.waitFor(() => admin.fetchTopicMetadata({ topics: [topic.topic] }), PATIENCE);
}

/** One more option of a topic's own, or another value of it. */
export async function configureTopic(
  admin: Admin,
  topic: string,
  name: string,
  value: string,
): Promise<void> {
  const current = await admin.describeConfigs({
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
    includeSynonyms: false,
  });
  const own = (current.resources[0]?.configEntries ?? [])
    .filter(
      ({ configSource, configName }) => configSource === ConfigSource.TOPIC_CONFIG && configName !== name,
    )
    .map(({ configName, configValue }) => ({ name: configName, value: configValue }));
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [...own, { name, value }] }],
  });
}

/** Every record that the log of a partition still has. */
export async function readLog(
  client: KafkaClient,
  topic: string,
  partition: number,
): Promise<IncomingRecord[]> {
  const { cluster, close } = await client.connect({ topics: [topic] });
  const records: IncomingRecord[] = [];
  const [range] = (await offsetRanges(cluster, [topic])).filter((r) => r.partition === partition);
  const [nodeId = ''] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
  const broker = await cluster.findBroker({ nodeId });
  for (let at = range?.low ?? 0n; at < (range?.end ?? 0n);) {
    const limits = { maxWaitMs: 100, maxBytes: 8_000_000 };
    const request = fetchRequest([{ topic, partition, offset: at, maxBytes: 8_000_000 }], limits);
    const { results } = await broker.connectionPool.send(request);
    const fetched = decodeBatches(results[0]?.batches ?? Buffer.alloc(0), at);
    records.push(...fetched.records);
    at = fetched.next;
  }
  await close();
  return records;
}

/** The real sockets that this process opens meanwhile, to be cut at will. */
export function watchSockets(): {
  readonly open: () => Socket[];
  readonly cut: () => void;
  readonly stop: () => void;
} {
  const sockets = new Set<Socket>();
  const onSocket = (message: unknown): void => {
    const { socket } = message as { socket: Socket };
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  };
  subscribe('net.client.socket', onSocket);
  return {
    open: () => [...sockets],
    cut() {
      for (const socket of sockets) socket.destroy(Object.assign(new Error('cut'), { code: 'ECONNRESET' }));
    },
    stop() {
      unsubscribe('net.client.socket', onSocket);
    },
  };
}
