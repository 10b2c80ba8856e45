/**
 * Gaps (I6): each is detected by a clear end, nothing goes on by guessing, and `graph recover` leaves a graph that equals
 * the database again: what changed in the gap, and what was deleted in it.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigResourceTypes, ConfigSource, Kafka, logLevel } from 'kafkajs';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { load } from '../../src/sample/load.ts';
import { createTopic } from '../support/kafka.ts';
import {
  createPlatform,
  edit,
  eventually,
  type Platform,
  type Process,
  underLoad,
  within,
} from '../support/platform.ts';
import { epochOf, lsnFrom, markOf, writtenBy } from '../support/rebuilds.ts';
import { replayReport } from '../support/replay.ts';
import { soak } from '../support/soak.ts';
import { servers } from '../support/servers.ts';

interface Status {
  readonly recovery: unknown;
  readonly tables: readonly { readonly verified: { readonly through: string } | null }[];
}

const kafka = new Kafka({ brokers: servers().kafkaBrokers.split(','), logLevel: logLevel.NOTHING }).admin();
let platform: Platform;
let replicator: Process;

beforeEach(async () => {
  platform = await createPlatform('gap');
  const client = await platform.sql.connect();
  await load(client, { seed: 7, entities: 300 });
  client.release();
  replicator = platform.start(['replicate']);
  await replicator.logged(/partitions assigned/);
  await platform.expectEqual();
});
afterEach(() => platform.dispose());
afterAll(() => kafka.disconnect());

/** What a replicator that is away does not see: some rows go, some change. */
async function changeInTheGap(): Promise<readonly string[]> {
  const { rows } = await platform.sql.query<{ id: string }>(
    `delete from entity where id in (select id from entity order by id limit 10) returning id::text`,
  );
  await platform.sql.query(
    `update entity set last_updated_at = now() where id in (select id from entity order by id limit 20)`,
  );
  return rows.map(({ id }) => id);
}

async function expectGone(ids: readonly string[]): Promise<void> {
  const [found] = await platform.cypher(
    `MATCH (n:${platform.names.labels.entity}) WHERE n.id IN $ids AND NOT n:Stub RETURN count(n) AS n`,
    { ids },
  );
  expect(found?.['n']).toBe(0n);
}

/** Ends by itself with this error and what to do. */
async function expectRefused(process: Process, said: RegExp): Promise<void> {
  const code = await within('it ends', process.exited);
  expect({ code, stderr: process.stderr() }).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(said) as string,
  });
  expect(process.stderr()).toMatch(/graph recover/);
}

const syncData = (...mode: readonly string[]) =>
  platform.run(['sync-data', ...mode, '--check-results-file', `${platform.connectors}/r.json`]);

/** On a terminal, in answer to its question. */
async function typed(answer: string): Promise<Process> {
  const asking = platform.start(['recover'], {}, { terminal: true });
  await eventually('it asks', () => Promise.resolve(asking.stdout().includes('Type "recover"')));
  asking.child.stdin?.write(`${answer}\n`);
  return asking;
}

/** From the gap to a proved graph, with the replicator under load meanwhile. */
async function recover(said: RegExp): Promise<void> {
  const refused = await platform.run(['recover']);
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringMatching(/--yes/) as string });
  expect(refused.stdout).toMatch(said);
  const shown = await platform.run(['status']);
  expect(shown).toMatchObject({ code: 1, stdout: expect.stringMatching(/^GAP {7}/m) as string });
  expect(shown.stdout).toMatch(said);

  const before = await writtenBy(platform);
  const recovering = platform.start(['recover', '--yes']);
  await recovering.logged(/a recovery has begun/);
  const waited = await platform.run(['wait', '--timeout', '1']);
  expect(waited).toMatchObject({ code: 1, stderr: expect.stringMatching(/being recovered/) as string });
  for (const mode of [[], ['--direct']]) {
    const { code, stderr } = await syncData(...mode);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/Another run is at work: graph recover of process/) as string,
    });
  }

  const again = platform.start(['replicate']);
  await underLoad(platform, async () => {
    expect(await recovering.exited, recovering.stderr().slice(-3000)).toBe(0);
  });
  const after = await writtenBy(platform);
  const [, through, epoch] = /verified through (\S+) of epoch (\d+)\.\n$/.exec(recovering.stdout()) ?? [];
  expect(lsnFrom(through)).toBeGreaterThanOrEqual(before);
  expect(lsnFrom(through)).toBeLessThan(after);
  expect(Number(epoch)).toBe(await epochOf(platform));
  await platform.expectEqual();
  const status = JSON.parse((await platform.run(['status', '--json'])).stdout) as Status;
  expect(status.recovery).toBeNull();
  expect(status.tables.map(({ verified }) => verified?.through)).toEqual(Array(4).fill(through));
  const nothing = await platform.run(['recover']);
  expect(nothing).toMatchObject({ code: 0, stdout: 'There is no gap: nothing to recover.\n' });
  await again.stop();
}

async function configureTopic(topic: string, name: string, value: string): Promise<void> {
  const current = await kafka.describeConfigs({
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
    includeSynonyms: false,
  });
  const own = (current.resources[0]?.configEntries ?? [])
    .filter(
      ({ configSource, configName }) => configSource === ConfigSource.TOPIC_CONFIG && configName !== name,
    )
    .map(({ configName, configValue }) => ({ name: configName, value: configValue }));
  await kafka.alterConfigs({
    validateOnly: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [...own, { name, value }] }],
  });
}

it.runIf(soak)('in a soak test alone: a slot that was dropped', async () => {
  await replicator.stop();
  await platform.sql.query('select pg_drop_replication_slot($1)', [platform.name]);
  const gone = await changeInTheGap();
  await expectRefused(platform.start(['replicate']), /the slot gap_\w+ no longer exists/);
  await recover(/the slot gap_\w+ no longer exists/);
  await expectGone(gone);
});

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
  const gone = await changeInTheGap();
  await recover(NO_RECORD);
  await expectGone(gone);
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
  const gone = await changeInTheGap();
  await expectRefused(platform.start(['publish']), /no longer has .*public\.entity/);
  await recover(/topic \S+public\.entity no longer exists/);
  await expectGone(gone);
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
    await configureTopic(`${platform.name}.public.entity`, 'cleanup.policy', 'delete');
    await kafka.deleteTopicRecords({
      topic: `${platform.name}.public.entity`,
      partitions: [{ partition: 2, offset: String(high) }],
    });
    await configureTopic(`${platform.name}.public.entity`, 'cleanup.policy', 'compact');
    await platform.cypher(
      `MATCH (p:_Progress {namespace: $name, topic: $topic, partition: 2}) SET p.next = 0`,
      { name: platform.name, topic: `${platform.name}.public.entity` },
    );
    await expectRefused(platform.start(['replicate']), /The graph goes on at offset \d+ of/);
    const gone = await changeInTheGap();
    await recover(/the graph goes on at offset \d+ of \S+relation-1, which holds/);
    await expectGone(gone);
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
  const gone = await changeInTheGap();
  await expectRefused(platform.start(['publish']), NO_RECORD);
  await recover(NO_RECORD);
  await expectGone(gone);
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

it('a slot that was dropped while a rebuild in place was not brought to its end', async () => {
  await replicator.stop();
  // As one leaves it that is killed while it empties the graph: see the tests of rebuild.
  await platform.cypher(
    `MATCH (g:_Graph {id: $name})
     SET g.rebuild = 'emptying', g.rebuildMapping = '', g.rebuildStartedAt = $at, g.rebuildRepublish = true
     WITH g MATCH (p:_Progress {namespace: $name}) DETACH DELETE p
     WITH DISTINCT g MATCH (n:${platform.names.labels.entity}) WITH n LIMIT 100 DETACH DELETE n`,
    { name: platform.name, at: new Date().toISOString() },
  );
  await platform.sql.query('select pg_drop_replication_slot($1)', [platform.name]);
  const gone = await changeInTheGap();
  await expectRefused(platform.start(['rebuild', '--in-place', '--yes']), /The slot gap_\w+ does not exist/);
  await expectRefused(platform.start(['project']), /The graph is being emptied by a rebuild/);

  const recovering = await typed('recover');
  await eventually('it waits', () => Promise.resolve(/have to run now/.test(recovering.stdout())));
  expect(recovering.stdout()).toMatch(/A rebuild has begun to empty the graph: that is done to its end/);
  expect(await markOf(platform, platform)).toBe('building');
  const again = platform.start(['replicate']);
  expect(await recovering.exited, recovering.stdout().slice(-3000)).toBe(0);
  await platform.expectEqual();
  await expectGone(gone);
  expect(await markOf(platform, platform)).toBeNull();
  await again.stop();
});

it('PostgreSQL and Kafka that were put back to before a recovery, and the graph was not', async () => {
  await replicator.stop();
  await platform.cypher('MATCH (p:_Progress {namespace: $name}) SET p.epoch = p.epoch + 1', {
    name: platform.name,
  });
  // It knows nothing of the graph.
  const publisher = platform.start(['publish']);
  await publisher.logged(/streaming/);
  await expectRefused(
    platform.start(['recover', '--yes']),
    /A publisher is at work on the slot gap_\w+: nothing was touched\. Stop graph publish/,
  );
  await publisher.stop();
  const gone = await changeInTheGap();
  await expectRefused(platform.start(['replicate']), /belongs to an older source than what the graph/);
  await recover(/the graph holds changes of epoch \d+, and the source is recorded in epoch \d+/);
  await expectGone(gone);

  // The recovery stays on record: a graph that begins behind it has not missed it, nor the deletes before it.
  const again = platform.start(['publish']);
  await again.logged(/streaming/);
  const rebuilt = await platform.run(['rebuild', '--in-place', '--yes', '--republish']);
  expect(rebuilt, rebuilt.stderr.slice(-3000)).toMatchObject({ code: 0 });
  const projector = platform.start(['project']);
  await platform.expectEqual();
  // So that what was written and deleted again is not of one batch.
  edit(`${platform.connectors}/sink.neo4j.json`, (json) => {
    Object.assign(json, { batch: { maxRecords: 10 } });
  });
  const replayed = await platform.run(['replay']);
  expect(replayed, replayed.stderr.slice(-3000)).toMatchObject({ code: 0 });
  const { 'asked for again': asked } = replayReport(replayed.stdout)['public.entity'] ?? {};
  expect(asked).toBeGreaterThanOrEqual(gone.length);
  await platform.expectEqual();
  await projector.stop();
  await again.stop();
});

it('a recovery that is ended at any of its steps is gone on with', async () => {
  await replicator.stop();
  await platform.sql.query(`drop publication ${platform.name}`);
  await expectRefused(platform.start(['publish']), /the publication no longer exists/);
  const gone = await changeInTheGap();
  const control = `${platform.name}.control`;
  const killedOnce = async (reached: (recovering: Process) => Promise<unknown>) => {
    const recovering = platform.start(['recover', '--yes']);
    await reached(recovering);
    expect(await recovering.kill('SIGKILL'), recovering.stderr().slice(-3000)).toBe('SIGKILL');
  };
  const recorded = async () => {
    const status = JSON.parse((await platform.run(['status', '--json'])).stdout) as Status;
    return status.recovery !== null;
  };
  const waits = (recovering: Process) =>
    eventually('it waits', () => Promise.resolve(/have to run now/.test(recovering.stdout())));

  const wrong = await typed('yes');
  expect(await within('it ends', wrong.exited)).toBe(2);
  expect(wrong.stdout()).toMatch(/Not confirmed: nothing is changed/);
  await expectRefused(platform.start(['publish']), /the publication no longer exists/);

  // The slot is dropped, and it ends there: nothing can be recorded.
  await configureTopic(control, 'max.message.bytes', '1');
  expect(await platform.run(['recover', '--yes'])).toMatchObject({ code: 1 });
  await configureTopic(control, 'max.message.bytes', String(1024 * 1024));
  expect(await recorded()).toBe(false);
  await expectRefused(platform.start(['publish']), /the slot gap_\w+ no longer exists/);

  await killedOnce((recovering) => recovering.logged(/a recovery has begun/));
  expect(await recorded()).toBe(true);

  // All rows are published, and not applied.
  const publisher = platform.start(['publish']);
  await killedOnce(async (recovering) => {
    await waits(recovering);
    await publisher.logged(/initial load: every row is in the stream/);
  });
  expect(await syncData()).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/being recovered/) as string,
  });

  const projector = platform.start(['project']);
  await killedOnce((recovering) => recovering.logged(/^Starting data check/));
  expect(await recorded()).toBe(true);

  const last = await platform.run(['recover', '--yes']);
  expect(last, last.stderr).toMatchObject({ code: 0 });
  expect(await recorded()).toBe(false);
  await platform.expectEqual();
  await expectGone(gone);
  await projector.stop();
  await publisher.stop();
});

it('the graph of another source, and nothing in Kafka tells of it: it is taken over once it is named', async () => {
  await replicator.stop();
  const topics = async () =>
    (await kafka.listTopics()).filter((topic) => topic.startsWith(`${platform.name}.`));
  await kafka.deleteTopics({ topics: await topics() });
  const named = async (source: string | null = null) => {
    const [graph] = await platform.cypher(
      `MATCH (g:_Graph {id: $name}) WITH g, g.source AS was SET g.source = coalesce($source, was) RETURN was`,
      { name: platform.name, source },
    );
    return graph?.['was'];
  };
  const ours = await named('1/other');
  const gone = await changeInTheGap();

  const quiet = { LOG_LEVEL: 'silent' };
  const foreign = /^The graph holds the data of another source .* graph recover --replaces 1\/other replaces/;
  const wrong = /^--replaces names 2\/other, but the graph holds the data of 1\/other: nothing is changed\. /;
  for (const [args, code, said] of [
    [['--yes'], 1, foreign],
    [['--yes', '--replaces', '2/other'], 2, wrong],
  ] as const)
    expect(await platform.run(['recover', ...args], quiet)).toEqual({
      code,
      stdout: '',
      stderr: expect.stringMatching(said) as string,
    });
  const slots = await platform.sql.query('select from pg_replication_slots where slot_name = $1', [
    platform.name,
  ]);
  expect([slots.rowCount, await topics(), await named()]).toEqual([1, [], '1/other']);

  // Nor does PostgreSQL tell of a gap, as a cluster does not that has never had a slot.
  await platform.sql.query('select pg_drop_replication_slot($1)', [platform.name]);
  const asked = await platform.run(['recover', '--replaces', '1/other'], quiet);
  expect(asked).toMatchObject({ code: 2, stderr: expect.stringMatching(/--yes/) as string });
  expect(asked.stdout).toContain('  - the graph holds the data of another source, 1/other\n');
  expect(asked.stdout).toContain(
    `The graph holds the data of 1/other: this database's, ${String(ours)}, replaces it.\n`,
  );
  expect(await topics()).toEqual([]);

  const begun = platform.start(['recover', '--yes', '--replaces', '1/other']);
  await begun.logged(/a recovery has begun/);
  expect(await begun.kill('SIGKILL')).toBe('SIGKILL');
  expect(await named()).toBe('1/other');

  const recovering = platform.start(['recover']);
  await eventually('it waits', () => Promise.resolve(/have to run now/.test(recovering.stdout())));
  const again = platform.start(['replicate']);
  await again.logged(/partitions assigned/);
  expect(await named()).toBe(ours);
  expect(await recovering.exited, recovering.stderr().slice(-3000)).toBe(0);
  await platform.expectEqual();
  await expectGone(gone);
  await again.stop();
});
