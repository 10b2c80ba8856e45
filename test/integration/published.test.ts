import { afterEach, beforeEach, expect, it } from 'vitest';
import { lsn } from '../../src/core/lsn.ts';
import { position } from '../../src/core/position.ts';
import type { RecordedSource } from '../../src/core/source-identity.ts';
import { withPublished } from '../../src/pipelines/publish/published.ts';
import { type TestKafka, testKafka } from '../support/kafka.ts';

const never = new AbortController().signal;
const at = (value: number) => lsn(BigInt(value));

let kafka: TestKafka;
beforeEach(async () => {
  kafka = await testKafka();
});
afterEach(() => kafka.dispose());

const recorded: RecordedSource = {
  epoch: 3,
  systemIdentifier: '7000',
  timeline: 1,
  database: 'platform',
  slot: 'eiq_graph',
  acknowledged: at(0x200),
  lastCommit: { lsn: at(0x180), xid: 42 },
  published: {},
};

it('the last transaction is the highest of the epoch that any partition ends with, or the one recorded', async () => {
  const [empty, one, other] = [await kafka.topic(), await kafka.topic(2), await kafka.topic()];
  const topics = [empty, one, other];
  const publish = (topic: string, partition: number, epoch: number, commit: number, xid: number) => {
    const source = { position: position(epoch, at(commit), at(commit - 8)), epoch, xid };
    return kafka.publish([
      { topic, partition, key: `${commit}`, value: JSON.stringify({ op: 'c', source }) },
    ]);
  };
  const lastCommit = async (from: Partial<RecordedSource> = {}) =>
    (await withPublished({ ...recorded, ...from }, topics, kafka.client, never))?.lastCommit;

  expect(await lastCommit()).toEqual({ lsn: 0x180n, xid: 42 });
  await publish(one, 0, 3, 0x170, 41);
  expect(await lastCommit()).toMatchObject({ lsn: 0x180n, xid: 42 });
  expect(await lastCommit({ lastCommit: null })).toMatchObject({ lsn: 0x170n, xid: 41 });
  await publish(one, 1, 3, 0x190, 43);
  await publish(one, 1, 3, 0x1a0, 44);
  await publish(other, 0, 3, 0x198, 45);
  expect(await lastCommit()).toMatchObject({ lsn: 0x1a0n, xid: 44 });
  // Of another source, and by another hand.
  await publish(other, 0, 4, 0x300, 50);
  await kafka.publish([{ topic: one, partition: 0, key: 'k', value: '{"source":{"position":"x"}}' }]);
  await kafka.publish([{ topic: one, partition: 0, key: 'k', value: 'not JSON' }]);
  expect(await lastCommit()).toMatchObject({ lsn: 0x1a0n, xid: 44 });
});

it('of a source that was never recorded nothing is said', async () => {
  expect(await withPublished(null, [], kafka.client, never)).toBeNull();
});
