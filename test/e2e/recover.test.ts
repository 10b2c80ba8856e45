/**
 * Gaps (I6): each is detected by a clear end, nothing goes on by guessing, and `graph recover` leaves a graph that equals
 * the database again: what changed in the gap, and what was deleted in it.
 */
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { configureTopic, quietAdmin } from '../support/kafka.ts';
import { edit, eventually, type Platform, type Process, within } from '../support/platform.ts';
import {
  changeInTheGap,
  expectGone,
  expectRefused,
  recover,
  replicating,
  type Status,
  syncData,
  typed,
} from '../support/recovery.ts';
import { markOf } from '../support/rebuilds.ts';
import { replayReport } from '../support/replay.ts';
import { soak } from '../support/soak.ts';

const kafka = quietAdmin();
let platform: Platform;
let replicator: Process;

beforeEach(async () => {
  ({ platform, replicator } = await replicating());
});
afterEach(() => platform.dispose());
afterAll(() => kafka.disconnect());

it.runIf(soak)('in a soak test alone: a slot that was dropped', async () => {
  await replicator.stop();
  await platform.sql.query('select pg_drop_replication_slot($1)', [platform.name]);
  const gone = await changeInTheGap(platform);
  await expectRefused(platform.start(['replicate']), /the slot gap_\w+ no longer exists/);
  await recover(platform, /the slot gap_\w+ no longer exists/);
  await expectGone(platform, gone);
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
  const gone = await changeInTheGap(platform);
  await expectRefused(platform.start(['rebuild', '--in-place', '--yes']), /The slot gap_\w+ does not exist/);
  await expectRefused(platform.start(['project']), /The graph is being emptied by a rebuild/);

  const recovering = await typed(platform, 'recover');
  await eventually('it waits', () => Promise.resolve(/have to run now/.test(recovering.stdout())));
  expect(recovering.stdout()).toMatch(/A rebuild has begun to empty the graph: that is done to its end/);
  expect(await markOf(platform, platform)).toBe('building');
  const again = platform.start(['replicate']);
  expect(await recovering.exited, recovering.stdout().slice(-3000)).toBe(0);
  await platform.expectEqual();
  await expectGone(platform, gone);
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
  const gone = await changeInTheGap(platform);
  await expectRefused(platform.start(['replicate']), /belongs to an older source than what the graph/);
  await recover(platform, /the graph holds changes of epoch \d+, and the source is recorded in epoch \d+/);
  await expectGone(platform, gone);

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
  const gone = await changeInTheGap(platform);
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

  const wrong = await typed(platform, 'yes');
  expect(await within('it ends', wrong.exited)).toBe(2);
  expect(wrong.stdout()).toMatch(/Not confirmed: nothing is changed/);
  await expectRefused(platform.start(['publish']), /the publication no longer exists/);

  // The slot is dropped, and it ends there: nothing can be recorded.
  await configureTopic(kafka, control, 'max.message.bytes', '1');
  expect(await platform.run(['recover', '--yes'])).toMatchObject({ code: 1 });
  await configureTopic(kafka, control, 'max.message.bytes', String(1024 * 1024));
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
  expect(await syncData(platform)).toMatchObject({
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
  await expectGone(platform, gone);
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
  const gone = await changeInTheGap(platform);

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
  await expectGone(platform, gone);
  await again.stop();
});
