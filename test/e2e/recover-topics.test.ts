/** Gaps (I6) in Kafka: topics that are deleted, or made again, or lose records, beneath whom they remember for. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { configureTopic, createTopic, quietAdmin } from '../support/kafka.ts';
import {
  createPlatform,
  edit,
  eventually,
  type Platform,
  type Process,
  underLoad,
  within,
} from '../support/platform.ts';
import { changeInTheGap, expectGone, expectRefused, recover, replicating } from '../support/recovery.ts';
import { soak } from '../support/soak.ts';

const kafka = quietAdmin();
let platform: Platform;
let replicator: Process;

beforeEach(async () => {
  ({ platform, replicator } = await replicating());
});
afterEach(() => platform.dispose());
afterAll(() => kafka.disconnect());

const CONTROL_LOST =
  /no longer has \S+\.control|other topics under the names \S+\.control|topic \S+\.control-0 went on at 0/;
const NO_RECORD = /the slot exists, but the control topic holds no record of the source/;

async function loseControlTopic({ name }: Platform, { madeAgain }: { madeAgain: boolean }): Promise<void> {
  const topic = `${name}.control`;
  await kafka.deleteTopics({ topics: [topic] });
  const configEntries = [
    { name: 'cleanup.policy', value: 'compact' },
    { name: 'segment.bytes', value: String(1024 * 1024) },
    { name: 'min.cleanable.dirty.ratio', value: '0.1' },
  ];
  if (madeAgain) await createTopic(kafka, { topic, configEntries });
}

it('the control topic deleted, and that of another platform made again, while all is at work', async () => {
  const other = await createPlatform('gap');
  const lost = async (on: Platform, process: Process, madeAgain: boolean) => {
    await underLoad(on, async () => {
      await loseControlTopic(on, { madeAgain });
      await expectRefused(process, CONTROL_LOST);
    });
    const asked = await on.run(['recover']);
    expect(asked).toMatchObject({ code: 2, stdout: expect.stringMatching(NO_RECORD) as string });
  };
  try {
    const beside = other.start(['replicate']);
    await beside.logged(/partitions assigned/);
    await Promise.all([lost(platform, replicator, false), lost(other, beside, true)]);
  } finally {
    await other.dispose();
  }
});

it.runIf(soak).each([
  ['deleted', false],
  ['deleted and made again', true],
])('in a soak test alone: the control topic %s, while all is at work', async (_, madeAgain) => {
  await underLoad(platform, async () => {
    await loseControlTopic(platform, { madeAgain });
    await within('it ends', replicator.exited);
  });
  await expectRefused(replicator, CONTROL_LOST);
  const gone = await changeInTheGap(platform);
  await recover(platform, NO_RECORD);
  await expectGone(platform, gone);
});

it('a data topic deleted and made again, while all is at work', async () => {
  const topic = `${platform.name}.public.entity`;
  await kafka.deleteTopics({ topics: [topic] });
  const configEntries = [{ name: 'cleanup.policy', value: 'compact' }];
  await createTopic(kafka, { topic, numPartitions: 4, configEntries });
  await expectRefused(
    replicator,
    /other topics under the names .*public\.entity|goes on at offset \d+ of \S+public\.entity/,
  );
  await kafka.deleteTopics({ topics: [topic] });
  const gone = await changeInTheGap(platform);
  await expectRefused(platform.start(['publish']), /no longer has .*public\.entity/);
  await recover(platform, /topic \S+public\.entity no longer exists/);
  await expectGone(platform, gone);
});

it.runIf(soak)(
  'in a soak test alone: the graph is ahead of a topic that lost its end, or behind its beginning',
  async () => {
    await replicator.stop();
    const topic = `${platform.name}.public.relation`;
    await platform.cypher(
      `MATCH (p:_Progress {namespace: $name, topic: $topic, partition: 1}) SET p.next = p.next + 1000000`,
      { name: platform.name, topic },
    );
    const { low, high } =
      (await kafka.fetchTopicOffsets(`${platform.name}.public.entity`)).find((of) => of.partition === 2) ??
      {};
    expect(Number(high)).toBeGreaterThan(Number(low));
    // Of a topic that is compacted only, none are deleted.
    await configureTopic(kafka, `${platform.name}.public.entity`, 'cleanup.policy', 'delete');
    await kafka.deleteTopicRecords({
      topic: `${platform.name}.public.entity`,
      partitions: [{ partition: 2, offset: String(high) }],
    });
    await configureTopic(kafka, `${platform.name}.public.entity`, 'cleanup.policy', 'compact');
    await platform.cypher(
      `MATCH (p:_Progress {namespace: $name, topic: $topic, partition: 2}) SET p.next = 0`,
      { name: platform.name, topic: `${platform.name}.public.entity` },
    );
    await expectRefused(platform.start(['replicate']), /The graph goes on at offset \d+ of/);
    const gone = await changeInTheGap(platform);
    await recover(platform, /the graph goes on at offset \d+ of \S+relation-1, which holds/);
    await expectGone(platform, gone);
  },
);

it.runIf(soak)(
  'in a soak test alone: all topics lost: what the graph knew of them is not taken for what it has of the new ones',
  async () => {
    await replicator.stop();
    const topics = (await kafka.listTopics()).filter((topic) => topic.startsWith(`${platform.name}.`));
    await kafka.deleteTopics({ topics });
    const recovering = platform.start(['recover', '--yes']);
    await recovering.logged(/a recovery has begun/);
    const publisher = platform.start(['publish']);
    await eventually(
      'all is published again',
      () => Promise.resolve(/no projector has taken up/.test(recovering.stderr())),
      60_000,
    );
    expect(recovering.child.exitCode).toBeNull();
    const projector = platform.start(['project']);
    expect(await recovering.exited, recovering.stderr().slice(-3000)).toBe(0);
    await platform.expectEqual();
    await projector.stop();
    await publisher.stop();
  },
);

it.runIf(soak)('in a soak test alone: all topics deleted', async () => {
  await replicator.stop();
  const topics = await kafka.listTopics();
  await kafka.deleteTopics({ topics: topics.filter((topic) => topic.startsWith(`${platform.name}.`)) });
  const gone = await changeInTheGap(platform);
  await expectRefused(platform.start(['publish']), NO_RECORD);
  await recover(platform, NO_RECORD);
  await expectGone(platform, gone);
});

it('no gap: the topic of a table that is not mapped any more is deleted', async () => {
  await replicator.stop();
  rmSync(join(platform.connectors, 'entities', 'entity_extract.json'));
  edit(join(platform.connectors, 'source.postgres.json'), (json) => {
    json['tables'] = ['public.entity', 'public.relation', 'public.extract'];
  });
  await kafka.deleteTopics({ topics: [`${platform.name}.public.entity_extract`] });
  const again = platform.start(['replicate']);
  await again.logged(/partitions assigned/);
  expect(await platform.run(['recover'])).toMatchObject({
    code: 0,
    stdout: 'There is no gap: nothing to recover.\n',
  });
  expect(await platform.run(['wait'])).toMatchObject({ code: 0 });
  await again.stop();
});
