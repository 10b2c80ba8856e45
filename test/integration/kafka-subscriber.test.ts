import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { AppError } from '../../src/core/errors.ts';
import { GroupMember } from '../../src/kafka/group.ts';
import { Lane } from '../../src/kafka/lane.ts';
import { createPublisher, type OutgoingRecord } from '../../src/kafka/publisher.ts';
import {
  type PartitionHandlers,
  type RecordBatch,
  subscribe,
  type SubscriberOptions,
  type TopicPartition,
} from '../../src/kafka/subscriber.ts';
import { COMPACT_SOON, PATIENCE, silent, type TestKafka, testKafka, watchSockets } from '../support/kafka.ts';

let kafka: TestKafka;
let groupId: string;
const running: { stop: AbortController; ended: Promise<unknown> }[] = [];

beforeEach(async () => {
  kafka = await testKafka();
  groupId = kafka.name('group');
});
afterEach(async () => {
  for (const { stop } of running) stop.abort();
  await Promise.all(running.splice(0).map(({ ended }) => ended));
  await kafka.dispose();
});

const nameOf = ({ topic, partition }: TopicPartition) => `${topic}-${partition}`;

/** What the graph does for the projector: owner and next offset of each partition, changed in one step. */
class Progress {
  readonly #rows = new Map<string, { owner: object; next: bigint; batches: RecordBatch[] }>();
  stale = 0;

  row(partition: TopicPartition) {
    const name = nameOf(partition);
    const row = this.#rows.get(name) ?? { owner: {}, next: 0n, batches: [] };
    this.#rows.set(name, row);
    return row;
  }

  values(partition: TopicPartition): string[] {
    return this.row(partition).batches.flatMap((b) => b.records.map((r) => r.value?.toString() ?? ''));
  }

  /** One projector's view. */
  handlers(work: (batch: RecordBatch) => Promise<void> = () => Promise.resolve()): PartitionHandlers {
    const owner = {};
    return {
      onAssigned: (partition) => {
        const row = this.row(partition);
        row.owner = owner;
        return Promise.resolve(row.next);
      },
      runPartition: async (lane, partition) => {
        for await (const batch of lane) {
          await work(batch);
          const row = this.row(partition);
          if (row.owner !== owner) {
            this.stale++;
            throw new AppError('PROGRESS_LOST', 'Another one has the partition.');
          }
          expect(batch.from).toBe(row.next);
          row.next = batch.next;
          row.batches.push(batch);
          lane.commit(batch.next);
        }
      },
    };
  }
}

function start(
  topics: readonly string[],
  handlers: PartitionHandlers,
  options: Partial<SubscriberOptions> = {},
) {
  const stop = new AbortController();
  const settings = { groupId, topics, sessionTimeoutMs: 1_500, heartbeatMs: 100, ...options };
  const ended = subscribe(kafka.client, settings, handlers, silent, stop.signal);
  const outcome = ended.then(
    () => null,
    (error: unknown) => error,
  );
  running.push({ stop, ended: outcome });
  return {
    ended: outcome,
    stop: async () => {
      stop.abort();
      await outcome;
    },
  };
}

function records(
  topic: string,
  partition: number,
  from: number,
  count: number,
  bytes = 100,
): OutgoingRecord[] {
  return Array.from({ length: count }, (_, i) => {
    return { topic, partition, key: `k${from + i}`, value: `${from + i}`.padEnd(bytes, '.') };
  });
}

const numbers = (values: readonly string[]) => values.map((value) => parseInt(value, 10));
const range = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);

async function reached(
  progress: Progress,
  topic: string,
  ends: readonly number[],
  timeout = 20_000,
): Promise<void> {
  await vi.waitFor(
    () => {
      expect(ends.map((_, partition) => progress.row({ topic, partition }).next)).toEqual(ends.map(BigInt));
    },
    { timeout, interval: 5 },
  );
}

describe('a lane', () => {
  it('is continuous over what compaction has left, and reaches the end', async () => {
    const topic = await kafka.topic(1, { ...COMPACT_SOON, 'segment.bytes': String(1024 * 1024) });
    await kafka.publish(records(topic, 0, 0, 50));
    await kafka.publish(records(topic, 0, 0, 1_000, 980));
    // Kafka keeps the last batch of each producer, even if nothing of it is left. This one ends a segment.
    await kafka.publish([{ topic, key: 'removed', value: null }]);
    const filler = { topic, key: 'filler', value: 'f'.repeat(100_000) };
    const left = await vi.waitFor(
      async () => {
        await kafka.publish([filler]);
        const log = await kafka.log(topic);
        expect(log.filter((r) => r.value === null || r.offset < 50n)).toEqual([]);
        return log;
      },
      { timeout: 30_000, interval: 100 },
    );
    const progress = new Progress();
    start([topic], progress.handlers(), { maxRecordsPerBatch: 300 });
    const [end] = await kafka.admin.fetchTopicOffsets(topic);
    await reached(progress, topic, [Number(end?.high)]);
    const read = progress.row({ topic, partition: 0 }).batches.flatMap((b) => b.records.map((r) => r.offset));
    expect(read.slice(0, 1_000)).toEqual(left.slice(0, 1_000).map((r) => r.offset));
    expect(read[0]).toBe(50n);
  });

  it('goes on where it is told to, with whatever comes', async () => {
    const topic = await kafka.topic(1);
    await kafka.publish(records(topic, 0, 0, 100));
    const progress = new Progress();
    progress.row({ topic, partition: 0 }).next = 42n;
    start([topic], progress.handlers());
    await reached(progress, topic, [100]);
    await kafka.publish(records(topic, 0, 100, 5));
    await reached(progress, topic, [105]);
    expect(numbers(progress.values({ topic, partition: 0 }))).toEqual(range(42, 63));
  });

  it('holds up no other when it is slow, and what waits in it is bounded', async () => {
    const topic = await kafka.topic(2);
    const progress = new Progress();
    const { onAssigned, runPartition } = progress.handlers();
    let slow: Lane | null = null;
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const limits = { queueBytesPerPartition: 1_000_000, maxBytesPerPartition: 500_000 };
    start(
      [topic],
      {
        onAssigned,
        async runPartition(lane, partition, signal) {
          if (partition.partition === 0) {
            if (lane instanceof Lane) slow = lane;
            await released;
          }
          await runPartition(lane, partition, signal);
        },
      },
      limits,
    );
    await kafka.publish(
      range(0, 6_000).flatMap((n) => [0, 1].flatMap((p) => records(topic, p, n, 1, 1_000))),
    );
    await reached(progress, topic, [0, 6_000]);
    const waiting = (slow as Lane | null)?.queuedBytes ?? 0;
    expect(waiting).toBeGreaterThanOrEqual(limits.queueBytesPerPartition);
    expect(waiting).toBeLessThan(limits.queueBytesPerPartition + limits.maxBytesPerPartition + 2_000);
    release();
    await reached(progress, topic, [6_000, 6_000]);
    expect(numbers(progress.values({ topic, partition: 0 }))).toEqual(range(0, 6_000));
  });

  it('delivers a record that is larger than what is fetched at once', async () => {
    const topic = await kafka.topic(1, { 'max.message.bytes': '3000000' });
    await kafka.publish(records(topic, 0, 0, 2, 2_500_000));
    const progress = new Progress();
    start([topic], progress.handlers(), { maxBytesPerPartition: 100_000, queueBytesPerPartition: 100_000 });
    await reached(progress, topic, [2]);
  });

  it('has a record within milliseconds of its production', async () => {
    const topic = await kafka.topic(2);
    const sentAt: number[] = [];
    const latencies: number[] = [];
    const progress = new Progress();
    const arrived = (batch: RecordBatch): Promise<void> => {
      for (const { value } of batch.records) latencies.push(performance.now() - (sentAt[Number(value)] ?? 0));
      return Promise.resolve();
    };
    start([topic], progress.handlers(arrived));
    const publisher = await createPublisher(kafka.client, { topics: [topic] }, silent);
    for (let n = 0; n < 400; n++) {
      sentAt[n] = performance.now();
      await publisher.send([{ topic, key: `k${n}`, value: `${n}` }]);
      const due = (sentAt[0] ?? 0) + 5 * (n + 1);
      if (due > performance.now())
        await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
    }
    await vi.waitFor(() => {
      expect(latencies).toHaveLength(400);
    }, PATIENCE);
    await publisher.close();
    const sorted = latencies.sort((a, b) => a - b);
    expect(sorted[200]).toBeLessThan(40);
  });
});

describe('the group', () => {
  it('shares the partitions out anew when a member comes or goes; nothing is lost, and nothing done twice', async () => {
    const topic = await kafka.topic(4);
    const publisher = await createPublisher(kafka.client, { topics: [topic] }, silent);
    const progress = new Progress();
    const done: Record<'one' | 'two', Set<number>> = { one: new Set(), two: new Set() };
    const member = (name: 'one' | 'two') =>
      start(
        [topic],
        progress.handlers(async (batch) => {
          done[name].add(batch.partition);
          await new Promise((resolve) => setImmediate(resolve));
        }),
        { maxRecordsPerBatch: 50 },
      );
    let sent = 0;
    const send = async (count: number) => {
      await publisher.send([0, 1, 2, 3].flatMap((p) => records(topic, p, sent, count)));
      sent += count;
    };
    const one = member('one');
    await send(100);
    await reached(progress, topic, [100, 100, 100, 100]);
    const two = member('two');
    await vi.waitFor(
      async () => {
        await send(10);
        expect(done.two.size).toBe(2);
      },
      { timeout: 20_000 },
    );
    expect(done.one.size).toBe(4);
    await one.stop();
    await send(100);
    await reached(progress, topic, [sent, sent, sent, sent]);
    expect(done.two.size).toBe(4);
    for (const partition of [0, 1, 2, 3]) {
      expect(numbers(progress.values({ topic, partition }))).toEqual(range(0, sent));
    }
    await two.stop();
    await publisher.close();
    const { groups } = await kafka.admin.describeGroups([groupId]);
    expect(groups[0]?.members).toEqual([]);
  });

  it('waits for a member to finish what it does, for longer than a session without heartbeats may take', async () => {
    const topic = await kafka.topic(2);
    const progress = new Progress();
    const seen: string[] = [];
    const slow = async (batch: RecordBatch): Promise<void> => {
      seen.push(`one begins ${batch.partition}`);
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      seen.push(`one ends ${batch.partition}`);
    };
    start([topic], progress.handlers(slow), { sessionTimeoutMs: 1_000 });
    await kafka.publish([0, 1].flatMap((p) => records(topic, p, 0, 1)));
    await vi.waitFor(() => {
      expect(seen).toHaveLength(2);
    }, PATIENCE);
    const quick = (batch: RecordBatch): Promise<void> =>
      Promise.resolve(void seen.push(`two does ${batch.partition}`));
    start([topic], progress.handlers(quick), { sessionTimeoutMs: 1_000 });
    await kafka.publish([0, 1].flatMap((p) => records(topic, p, 1, 1)));
    await reached(progress, topic, [2, 2]);
    expect(seen.slice(0, 4).map((s) => s.slice(0, -2))).toEqual([
      'one begins',
      'one begins',
      'one ends',
      'one ends',
    ]);
    expect(progress.stale).toBe(0);
  });

  it('goes on without a member that was killed, once its session has run out', async () => {
    const topic = await kafka.topic(2);
    const { cluster, close } = await kafka.client.connect({ topics: [topic] });
    const group = { groupId, topics: [topic], sessionTimeoutMs: 1_500, rebalanceTimeoutMs: 2_000 };
    const killed = new GroupMember(group);
    const assigned = await vi.waitFor(() => killed.join(cluster), { timeout: 10_000, interval: 100 });
    expect(assigned).toHaveLength(2);
    await close();
    await kafka.publish([0, 1].flatMap((p) => records(topic, p, 0, 10)));
    const progress = new Progress();
    start([topic], progress.handlers());
    await reached(progress, topic, [10, 10]);
  });

  it('knows for Kafka’s tools how far each partition is', async () => {
    const topic = await kafka.topic(1);
    await kafka.publish(records(topic, 0, 0, 7));
    start([topic], new Progress().handlers());
    await vi.waitFor(
      async () => {
        const [offsets] = await kafka.admin.fetchOffsets({ groupId, topics: [topic] });
        expect(offsets?.partitions).toMatchObject([{ partition: 0, offset: '7' }]);
      },
      { timeout: 10_000 },
    );
  });

  it('may have more members than partitions: they wait', async () => {
    const topic = await kafka.topic(1);
    const progress = new Progress();
    const one = start([topic], progress.handlers());
    const two = start([topic], progress.handlers());
    await kafka.publish(records(topic, 0, 0, 10));
    await reached(progress, topic, [10]);
    await one.stop();
    await kafka.publish(records(topic, 0, 10, 10));
    await reached(progress, topic, [20]);
    await two.stop();
  });

  it('may read other topics than the leader, as while members are replaced one by one', async () => {
    const [known, added] = [await kafka.topic(2), await kafka.topic(2)];
    const progress = new Progress();
    const leader = start([known], progress.handlers());
    await kafka.publish([...records(known, 0, 0, 10), ...records(known, 1, 0, 10)]);
    await reached(progress, known, [10, 10]);
    const next = start([known, added], progress.handlers());
    await kafka.publish([...records(added, 0, 0, 10), ...records(added, 1, 0, 10)]);
    await reached(progress, added, [10, 10]);
    await leader.stop();
    expect(await leader.ended).toBeNull();
    await kafka.publish([...records(known, 0, 10, 10), ...records(known, 1, 10, 10)]);
    await reached(progress, known, [20, 20]);
    await next.stop();
  });
});

describe('a gap', () => {
  const gap = (next: number) => ({
    code: 'PROGRESS_GAP',
    context: expect.objectContaining({ next: BigInt(next) }) as object,
  });

  it('is found where the topic ends before the graph does', async () => {
    const topic = await kafka.topic(1);
    await kafka.publish(records(topic, 0, 0, 10));
    const progress = new Progress();
    progress.row({ topic, partition: 0 }).next = 11n;
    expect(await start([topic], progress.handlers()).ended).toMatchObject(gap(11));
  });

  it('is found where the topic begins after the graph ends', async () => {
    const topic = await kafka.topic(1);
    await kafka.publish(records(topic, 0, 0, 10));
    await kafka.admin.fetchTopicOffsets(topic);
    await kafka.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '5' }] });
    const progress = new Progress();
    progress.row({ topic, partition: 0 }).next = 4n;
    expect(await start([topic], progress.handlers()).ended).toMatchObject(gap(4));
  });

  it('is found while it is read', async () => {
    const topic = await kafka.topic(1);
    const progress = new Progress();
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const work = () => released;
    const subscriber = start([topic], progress.handlers(work), {
      maxRecordsPerBatch: 10,
      maxBytesPerPartition: 1_000,
      queueBytesPerPartition: 1_000,
    });
    await kafka.publish(records(topic, 0, 0, 100, 1_000));
    await kafka.publish(records(topic, 0, 100, 100, 1_000));
    await kafka.admin.fetchTopicOffsets(topic);
    await kafka.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '200' }] });
    release();
    expect(await subscriber.ended).toMatchObject({ code: 'PROGRESS_GAP' });
  });
});

describe('an error', () => {
  it('of a handler ends the subscription, after all loops have ended', async () => {
    const topic = await kafka.topic(3);
    const failure = new AppError('NEO4J_FAILED', 'No.');
    let ended = 0;
    const subscriber = start([topic], {
      onAssigned: () => Promise.resolve(0n),
      async runPartition(lane, { partition }) {
        if (partition === 1) throw failure;
        for await (const { next } of lane) lane.commit(next);
        ended++;
      },
    });
    expect(await subscriber.ended).toBe(failure);
    expect(ended).toBe(2);
  });

  it('of a handler is the one that counts, though the connection breaks with it', async () => {
    const topic = await kafka.topic(1);
    const sockets = watchSockets();
    const failure = new AppError('NEO4J_FAILED', 'No.');
    const subscriber = start([topic], {
      onAssigned: () => Promise.resolve(0n),
      runPartition() {
        sockets.cut();
        return Promise.reject(failure);
      },
    });
    expect(await subscriber.ended).toBe(failure);
    sockets.stop();
  });

  it('of a take-over does too', async () => {
    const failure = new AppError('NEO4J_AUTH', 'No.');
    const subscriber = start([await kafka.topic(2)], {
      onAssigned: () => Promise.reject(failure),
      runPartition: () => Promise.resolve(),
    });
    expect(await subscriber.ended).toBe(failure);
  });

  it('is a loop that ends by itself', async () => {
    const subscriber = start([await kafka.topic(1)], {
      onAssigned: () => Promise.resolve(0n),
      runPartition: () => Promise.resolve(),
    });
    expect(await subscriber.ended).toMatchObject({ message: expect.stringContaining('ended') as string });
  });

  it('of the connection is survived, again and again, with nothing lost or done twice', async () => {
    const topic = await kafka.topic(2);
    const sockets = watchSockets();
    const progress = new Progress();
    start([topic], progress.handlers());
    for (let round = 0; round < 5; round++) {
      await kafka.publish([0, 1].flatMap((p) => records(topic, p, round * 20, 20)));
      await reached(progress, topic, [20 * (round + 1), 20 * (round + 1)]);
      sockets.cut();
    }
    sockets.stop();
    for (const partition of [0, 1]) {
      expect(numbers(progress.values({ topic, partition }))).toEqual(range(0, 100));
    }
  });

  it('is a topic that is missing', async () => {
    const subscriber = start([kafka.name('missing')], new Progress().handlers());
    expect(await subscriber.ended).toMatchObject({ code: 'KAFKA_TOPIC' });
  });
});

it('it stops promptly, also while it waits for a group that takes its time', async () => {
  const topic = await kafka.topic(1);
  const { cluster, close } = await kafka.client.connect({ topics: [topic] });
  const member = new GroupMember({
    groupId,
    topics: [topic],
    sessionTimeoutMs: 30_000,
    rebalanceTimeoutMs: 60_000,
  });
  await vi.waitFor(() => member.join(cluster), { timeout: 10_000, interval: 100 });
  const subscriber = start([topic], new Progress().handlers());
  await vi.waitFor(async () => {
    expect(await member.heartbeat()).toBe('rejoin');
  }, PATIENCE);
  const started = performance.now();
  await subscriber.stop();
  expect(performance.now() - started).toBeLessThan(3_000);
  await member.leave();
  await close();
});
