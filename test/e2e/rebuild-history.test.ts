/** What topics may have been through for a graph to be built from them, and what they may not. */
import { afterEach, expect, it } from 'vitest';
import { createPublisher } from '../../src/kafka/publisher.ts';
import { readLatest } from '../../src/kafka/read-topic.ts';
import { withAdmin } from '../../src/kafka/topics.ts';
import { configureTopic, createTopic, readLog, silent } from '../support/kafka.ts';
import {
  createPlatform,
  edit,
  eventually,
  type Platform,
  type Process,
  underLoad,
} from '../support/platform.ts';
import {
  expectEqualTo,
  filled,
  kafkaOf,
  markOf,
  proofIn,
  publishedBy,
  recordsOf,
  topicsOf,
} from '../support/rebuilds.ts';

let platform: Platform;
afterEach(() => platform.dispose());

const inPlace = (...args: readonly string[]) => platform.run(['rebuild', '--in-place', '--yes', ...args]);
/** The graph of the platform, which is not told that it is the one in use. */
const intoForced = () => {
  const { NEO4J_URI = '', NEO4J_USERNAME = '', NEO4J_PASSWORD = '' } = platform.env;
  return platform.run(['rebuild', '--into', NEO4J_URI, '--force-empty'], {
    NEO4J_URI: '',
    TARGET_NEO4J_USERNAME: NEO4J_USERNAME,
    TARGET_NEO4J_PASSWORD: NEO4J_PASSWORD,
  });
};
const K = '0b000000-0000-4000-8000-000000000001';

/** A projector runs until the graph has everything. */
async function replicated(): Promise<void> {
  const projector = platform.start(['project']);
  // Where nothing is left to do, it would be told to stop before it listens.
  await projector.logged(/partitions assigned/);
  await platform.expectEqual(120);
  await projector.stop();
}

async function changesOf(rate: number): Promise<void> {
  const before = await recordsOf(platform);
  await underLoad(
    platform,
    () => eventually('changes come', async () => (await recordsOf(platform)) > before + 2 * rate),
    { rate, leftAlone: [K] },
  );
}

it('after compaction, with partitions added, and with a late record of a replaced publisher: the same graph', async () => {
  platform = await filled('compacted', 200);
  edit(`${platform.connectors}/source.postgres.json`, (json) => {
    Object.assign(json, { segmentMs: 1000, maxCompactionLagMs: 1000 });
  });
  const title = (text: string) =>
    platform.sql.query(
      `insert into entity (id, type, data, created_at, last_updated_at)
       values ($1, 'ttp', jsonb_build_object('title', $2::text), now(), now())
       on conflict (id) do update set data = excluded.data, last_updated_at = excluded.last_updated_at`,
      [K, text],
    );
  const client = kafkaOf(platform);
  const [topic = ''] = topicsOf(platform);
  const first = await publishedBy(platform);
  await title('older');
  await replicated();
  const key = JSON.stringify({ id: K });
  const late = (await readLatest(client, topic, AbortSignal.timeout(20_000), String)).get(key) ?? '';
  expect(late).toContain('older');
  await first.stop();

  let publisher = platform.start(['publish']);
  await publisher.logged(/streaming/);
  await title('newer');
  await platform.sql.query(
    `insert into entity select gen_random_uuid(), 'report', '{}', '{}', now(), now() from generate_series(1, 200)`,
  );
  await replicated();
  const replaced = await createPublisher(client, { topics: [topic] }, silent);
  await replaced.send([{ topic, key, value: late }]);
  await replaced.close();
  const all = async () =>
    (await Promise.all([0, 1, 2, 3].map((partition) => readLog(client, topic, partition)))).flat();
  await eventually(
    'only the late record is left of its key',
    async () => {
      await changesOf(50);
      const left = (await all()).filter((record) => record.key?.toString() === key);
      return left.length === 1 && left[0]?.value?.toString() === late;
    },
    60_000,
  );
  await publisher.stop();

  await withAdmin(client, (admin) =>
    admin.createPartitions({
      topicPartitions: topicsOf(platform).map((name) => ({ topic: name, count: 6 })),
    }),
  );
  const unfit = await inPlace('--republish');
  expect(unfit).toMatchObject({ code: 1, stdout: '' });
  expect(unfit.stderr).toMatch(/^Topic \S+entity has 6 partitions, not 4: set "partitions" to 6\./m);
  expect(await markOf(platform, platform)).toBeNull();
  edit(`${platform.connectors}/source.postgres.json`, (json) => {
    json['partitions'] = 6;
  });
  publisher = platform.start(['publish']);
  await publisher.logged(/streaming/);
  await changesOf(200);

  const { code, stdout, stderr } = await inPlace();
  expect(code, stderr).toBe(0);
  expect(proofIn(stdout)).toMatchObject({ repaired: 0 });
  expect(stderr).toContain('refused records of an older publisher session');
  await expectEqualTo(platform, platform);
  const [row] = await platform.cypher(
    `MATCH (n:${platform.names.labels.entity} {id: $K}) RETURN n.title AS title`,
    { K },
  );
  expect(row).toEqual({ title: 'newer' });
  await publisher.stop();
});

/** Refused, with the graph as it was. */
async function expectRefused(why: RegExp, publisher: Process, run = inPlace): Promise<void> {
  const { code, stdout, stderr } = await run();
  expect({ code, stdout }, stderr).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(why);
  expect(stderr).toMatch(
    /^A graph cannot be built from the topics: .*Add --republish: every row of all tables/m,
  );
  expect(await markOf(platform, platform)).toBeNull();
  expect(publisher.child.exitCode).toBeNull();
  await expectEqualTo(platform, platform);
}

async function expectRepublished(publisher: Process): Promise<void> {
  const { code, stdout, stderr } = await inPlace('--republish');
  expect(code, stderr).toBe(0);
  expect(proofIn(stdout)).toMatchObject({ repaired: 0 });
  await expectEqualTo(platform, platform);
  await replicated();
  await publisher.stop();
}

it('records that have expired are missed before anything is removed; --republish builds from every row as it is', async () => {
  platform = await filled('expired', 300);
  const publisher = await publishedBy(platform);
  await replicated();
  const [topic = ''] = topicsOf(platform);
  const policy = (value: string) =>
    withAdmin(kafkaOf(platform), (admin) => configureTopic(admin, topic, 'cleanup.policy', value));
  await policy('delete');
  await expectRefused(/topic \S+ has cleanup\.policy=delete, not compact/, publisher);
  await withAdmin(kafkaOf(platform), async (admin) => {
    await admin.fetchTopicOffsets(topic); // so that kafkajs knows where it is
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 1, offset: '5' }] });
  });
  await policy('compact');
  for (const run of [inPlace, intoForced])
    await expectRefused(/entity-1 begins at offset 5\b/, publisher, run);
  await expectRepublished(publisher);
});

it('a topic that ends before what the graph has of it is missed', async () => {
  platform = await filled('shorter', 100);
  const publisher = await publishedBy(platform);
  await replicated();
  const [topic = ''] = topicsOf(platform);
  const moved = (by: number) =>
    platform.cypher(`MATCH (p:_Progress {topic: $topic, partition: 2}) SET p.next = p.next + $by`, {
      topic,
      by: BigInt(by),
    });
  await moved(1);
  await expectRefused(
    /entity-2 ends at offset \d+, though the graph has it up to \d+: it was recreated/,
    publisher,
  );
  await expectRepublished(publisher);
});

it('a topic that was made again is missed; to publish all rows is no way out of that', async () => {
  platform = await filled('remade', 50);
  const publisher = await publishedBy(platform);
  await replicated();
  await publisher.stop();
  const [topic = ''] = topicsOf(platform);
  await withAdmin(kafkaOf(platform), async (admin) => {
    await admin.deleteTopics({ topics: [topic] });
    const configEntries = [{ name: 'cleanup.policy', value: 'compact' }];
    await createTopic(admin, { topic, numPartitions: 4, configEntries });
  });
  for (const options of [[], ['--republish']]) {
    const { code, stdout, stderr } = await inPlace(...options);
    expect({ code, stdout }, stderr).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(
      /^Kafka has other topics under the names \S+entity: .* with --republish neither, .*Run graph recover\.$/m,
    );
  }
  expect(await markOf(platform, platform)).toBeNull();
  await expectEqualTo(platform, platform);
});

it('rows that were never published are missed', async () => {
  platform = await filled('unpublished', 100);
  const publisher = platform.start(['publish', '--no-initial-load']);
  await publisher.logged(/streaming/);
  await platform.sql.query(
    `insert into entity select gen_random_uuid(), 'report', '{}', '{}', now(), now() from generate_series(1, 10)`,
  );
  const projector = platform.start(['project']);
  const waited = await platform.run(['wait']);
  expect(waited.code, waited.stderr).toBe(0);
  await projector.stop();
  const { code, stdout, stderr } = await inPlace();
  expect({ code, stdout }, stderr).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/rows of public\.entity that are older than the slot were left out.*--republish/);
  expect(stderr).toMatch(/topic \S+\.public\.relation is empty, though public\.relation has rows/);
  await expectRepublished(publisher);
});

it('without a publisher nothing is removed either', async () => {
  platform = await createPlatform('nobody');
  const publisher = platform.start(['publish']);
  await publisher.logged(/streaming/);
  await replicated();
  await publisher.stop();
  const { code, stdout, stderr } = await inPlace('--max-wait', '1');
  expect({ code, stdout }, stderr).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/no publisher is running/);
  expect(await markOf(platform, platform)).toBeNull();
});
