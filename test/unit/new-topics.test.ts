/** Topics that were just made, before the broker that is asked knows of them, or their leaders that they lead. */
import type { Admin } from 'kafkajs';
import { expect, it } from 'vitest';
import { ensureTopics } from '../../src/kafka/topics.ts';

const never = new AbortController().signal;
const SPEC = { topic: 't', partitions: 1, replicationFactor: 1, configs: {} };
const answer = (type: string, retriable = false) =>
  Object.assign(new Error(type), { name: 'KafkaJSProtocolError', type, retriable });

/** A broker that knows of nothing that was made before it was asked `after` times; so the leaders. */
function broker(after: number, refuses = answer('UNKNOWN_TOPIC_OR_PARTITION'), leading = 0) {
  let [asked, led] = [0, 0];
  const admin = {
    listTopics: () => Promise.resolve([]),
    createTopics: ({ waitForLeaders }: { waitForLeaders: boolean }) =>
      waitForLeaders ? Promise.reject(refuses) : Promise.resolve(true),
    fetchTopicMetadata: () => (asked++ < after ? Promise.reject(refuses) : Promise.resolve({ topics: [] })),
    fetchTopicOffsets: () =>
      led++ < leading ? Promise.reject(answer('NOT_LEADER_FOR_PARTITION', true)) : Promise.resolve([]),
  } as unknown as Admin;
  return { admin, asked: () => asked };
}

it('are waited for', async () => {
  const { admin, asked } = broker(3);
  expect(await ensureTopics(admin, [SPEC], never)).toEqual({ created: ['t'] });
  expect(asked()).toBe(4);
});

it('are waited for until their leaders answer', async () => {
  const { admin, asked } = broker(0, undefined, 2);
  expect(await ensureTopics(admin, [SPEC], never)).toEqual({ created: ['t'] });
  expect(asked()).toBe(3);
});

it('are not waited for if the broker says anything else', async () => {
  const { admin, asked } = broker(3, answer('TOPIC_AUTHORIZATION_FAILED'));
  await expect(ensureTopics(admin, [SPEC], never)).rejects.toMatchObject({ code: 'KAFKA_AUTH' });
  expect(asked()).toBe(1);
});

it('are waited for until the signal says so', async () => {
  const { admin } = broker(Infinity);
  const stop = new AbortController();
  const waiting = ensureTopics(admin, [SPEC], stop.signal);
  stop.abort();
  await expect(waiting).rejects.toMatchObject({ cause: stop.signal.reason as unknown });
});
