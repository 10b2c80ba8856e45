/** `graph rebuild --into`: another graph is built beside the one in use, proved, and taken over by the projector. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { loadMapping } from '../../src/config/connectors.ts';
import { mappingDigest } from '../../src/neo4j/rebuild-mark.ts';
import { edit, eventually, type Platform, underLoad } from '../support/platform.ts';
import {
  epochOf,
  expectEqualTo,
  filled,
  lsnFrom,
  markOf,
  progressOf,
  proofIn,
  publishedBy,
  reachedBy,
  recordsOf,
  rowsOf,
  topicsOf,
  writtenBy,
} from '../support/rebuilds.ts';
import { type SecondNeo4j, startSecondNeo4j } from '../support/second-neo4j.ts';
import { soak } from '../support/soak.ts';

const KILLS = soak ? 30 : 2;

let green: SecondNeo4j;
let platform: Platform;
beforeAll(async () => {
  green = await startSecondNeo4j();
});
afterAll(() => green.stop());
afterEach(async () => {
  await platform.dispose();
  await green.clear();
});

const credentials = () => ({ TARGET_NEO4J_PASSWORD: green.password });
const into = (...args: readonly string[]) => ['rebuild', '--into', green.uri, ...args];
const rebuild = (...args: readonly string[]) => platform.run(into(...args), credentials());
const blueCredentials = () => ({
  TARGET_NEO4J_USERNAME: platform.env['NEO4J_USERNAME'] ?? '',
  TARGET_NEO4J_PASSWORD: platform.env['NEO4J_PASSWORD'] ?? '',
});
const asGreen = () => ({ NEO4J_URI: green.uri, NEO4J_PASSWORD: green.password });

async function expectCurrent(): Promise<void> {
  const { code, stderr } = await platform.run(['wait'], asGreen());
  expect(code, stderr).toBe(0);
}

// Two servers that have planned nothing yet, and a load beside them.
const SLOW = { timeout: 480_000 };

it(
  'under load it is proved; the projector goes on with it where the rebuild ended, and back again',
  SLOW,
  async () => {
    platform = await filled('blue', 300);
    const publisher = await publishedBy(platform);
    const blue = platform.start(['project']);
    await blue.logged(/partitions assigned/);
    await underLoad(platform, async () => {
      const before = await writtenBy(platform);
      const { code, stdout, stderr } = await rebuild();
      const after = await writtenBy(platform);
      expect(code, stderr).toBe(0);
      const proof = proofIn(stdout);
      const epoch = await epochOf(platform);
      expect(proof).toMatchObject({ event: 'proved', graph: `${green.uri}/neo4j`, epoch, repaired: 0 });
      const through = lsnFrom(proof['lsn']);
      expect(through).toBeGreaterThanOrEqual(before);
      expect(through).toBeLessThan(after);
      const lsn = through.toString(16).padStart(16, '0');
      expect(proof['position']).toBe(`${String(epoch).padStart(10, '0')}-${lsn}-${lsn}`);
      expect(await markOf(green, platform)).toBeNull();
      const ended = await progressOf(green, platform);

      await blue.stop();
      const cut = platform.start(['project'], asGreen());
      await cut.logged(/partitions assigned/);
      for (const [partition, next] of await progressOf(green, platform))
        expect(next, partition).toBeGreaterThanOrEqual(ended.get(partition) ?? 0n);
      await expectCurrent();
      await cut.stop();
    });
    const cut = platform.start(['project'], asGreen());
    await expectCurrent();
    await expectEqualTo(platform, green);
    await cut.stop();
    // Blue has stood still meanwhile, and goes on.
    const back = platform.start(['project']);
    await back.logged(/partitions assigned/);
    await platform.expectEqual();
    await back.stop();
    await publisher.stop();
  },
);

it('with --follow it stays current until it is stopped', async () => {
  platform = await filled('follow', 200);
  const publisher = await publishedBy(platform);
  const following = platform.start(into('--follow'), credentials());
  await eventually('it is proved', () => Promise.resolve(following.stdout() !== ''), 60_000);
  await underLoad(platform, async () => {
    const before = await recordsOf(platform);
    await eventually('changes come', async () => (await recordsOf(platform)) > before + 100);
  });
  await expectCurrent();
  await expectEqualTo(platform, green);
  await following.stop();
  proofIn(following.stdout());
  await publisher.stop();
});

it(`killed ${KILLS} times on the way it goes on where it was`, async () => {
  platform = await filled('killed', 700);
  edit(`${platform.connectors}/sink.neo4j.json`, (json) => {
    // So that there is a middle to be killed in.
    json['batch'] = { maxRecords: 25, maxBytes: 1_000_000 };
  });
  const publisher = await publishedBy(platform);
  const records = await recordsOf(platform);
  const reached = () => reachedBy(green, platform);
  for (let kill = 1; kill <= KILLS; kill++) {
    const before = await reached();
    const run = platform.start(into(), credentials());
    await eventually(
      `${kill} parts of ${KILLS + 1} are built`,
      async () => (await reached()) > Math.max(before, (kill * records) / (KILLS + 2)),
      90_000,
    );
    await run.kill('SIGKILL');
    expect(await reached()).toBeGreaterThan(before);
    expect(await reached()).toBeLessThan(records);
    expect(await markOf(green, platform)).toBe('building');
  }
  const { code, stdout, stderr } = await rebuild();
  expect(code, stderr).toBe(0);
  expect(stderr).toMatch(/^Going on with the rebuild that was begun at /m);
  expect(proofIn(stdout)).toMatchObject({ repaired: 0, compared: await rowsOf(platform) });
  await expectEqualTo(platform, green);
  await publisher.stop();
});

it('killed while all rows are asked for, and while it is built from them, it goes on, and stays with them', async () => {
  platform = await filled('asked', 400);
  edit(`${platform.connectors}/sink.neo4j.json`, (json) => {
    json['batch'] = { maxRecords: 10, maxBytes: 1_000_000 };
  });
  const publisher = await publishedBy(platform);
  const reached = () => reachedBy(green, platform);
  const records = await recordsOf(platform);

  const asking = platform.start(into('--republish'), credentials());
  await eventually('it begins', async () => (await markOf(green, platform)) === 'building');
  // It asks no further ahead of the publisher than a few requests.
  publisher.child.kill('SIGSTOP');
  await eventually('it begins where the topics end', async () => (await reached()) > 0);
  await asking.kill('SIGKILL');
  publisher.child.kill('SIGCONT');
  expect(await green.cypher('MATCH (g:_Graph) RETURN g.rebuildRepublish AS asking')).toEqual([
    { asking: true },
  ]);
  // It applies all that was asked for, which is not all there is.
  const projector = platform.start(['project'], asGreen());
  await projector.logged(/partitions assigned/);
  await eventually('it has', async () => (await reached()) === (await recordsOf(platform)), 60_000);
  const waited = await platform.run(['wait', '--timeout', '5'], asGreen());
  expect(waited.code).toBe(1);
  expect(waited.stderr).toMatch(
    /still to be asked for, by a rebuild that was begun at .* run graph rebuild again/,
  );
  await projector.stop();
  const before = await reached();

  const building = platform.start(into(), credentials());
  await eventually('some is built', async () => (await reached()) > before, 60_000);
  await building.kill('SIGKILL');
  expect(await markOf(green, platform)).toBe('building');

  const { code, stdout, stderr } = await rebuild();
  expect(code, stderr).toBe(0);
  expect(proofIn(stdout)).toMatchObject({ repaired: 0 });
  expect(await recordsOf(platform), 'all rows have come again').toBeGreaterThanOrEqual(2 * records);
  await expectEqualTo(platform, green);
  await publisher.stop();
});

it('what differs is repaired, and only then is the graph proved; nothing but the rebuild itself is built upon', async () => {
  platform = await filled('differs', 300);
  const publisher = await publishedBy(platform);
  const first = platform.start(into(), credentials(), { terminal: true });
  expect(await first.exited, first.stdout().slice(-3000)).toBe(0);
  expect(first.stdout()).toMatch(
    new RegExp(`building: \\S+ \\d+ of some ${await recordsOf(platform)}, \\d+/s, (\\d+|\\?) s to go`),
  );
  const { labels, types } = platform.names;
  const damage = async () => {
    await green.cypher(`MATCH (n:${labels.entity}) WHERE NOT n:Stub WITH n LIMIT 20 SET n.title = 'damaged'`);
    await green.cypher(`MATCH ()-[r:${types.related}]->() WITH r LIMIT 20 DELETE r`);
    await expect(expectEqualTo(platform, green)).rejects.toThrow();
  };
  await damage();

  const finished = await rebuild();
  expect(finished).toMatchObject({ code: 1, stdout: '' });
  expect(finished.stderr).toMatch(
    /^The graph to be filled holds \d+ nodes and \d+ relationships, .*--force-empty/m,
  );

  const begun = (mapping: string) =>
    green.cypher(`MATCH (g:_Graph) SET g.rebuild = 'building', g.rebuildMapping = $mapping`, { mapping });
  await begun('other');
  const other = await rebuild();
  expect(other).toMatchObject({ code: 1, stdout: '' });
  expect(other.stderr).toMatch(/beginning of a rebuild by other connector files.*--force-empty/);

  await begun(mappingDigest(loadMapping(platform.connectors)));
  const [topic = ''] = topicsOf(platform);
  const [known] = await green.cypher(
    `MATCH (p:_Progress {topic: $topic}) WITH p, p.generation AS before SET p.generation = 'earlier' RETURN before`,
    { topic },
  );
  const remade = await rebuild();
  expect(remade).toMatchObject({ code: 1, stdout: '' });
  expect(remade.stderr).toMatch(/from topics that were made again since: \S+entity\..*--force-empty/);
  await green.cypher('MATCH (p:_Progress {topic: $topic}) SET p.generation = $before', { topic, ...known });

  // No row can have this key: nothing repairs it.
  await green.cypher(`CREATE (:${labels.entity} {id: 5})`);
  const left = await rebuild();
  expect(left).toMatchObject({ code: 1, stdout: '' });
  expect(left.stderr).toMatch(/^Check 1 of the graph found \d+ that differed and left 1 open\./m);
  expect(await markOf(green, platform)).toBe('building');
  await green.cypher(`MATCH (n:${labels.entity} {id: 5}) DELETE n`);
  await damage();

  const { code, stdout, stderr } = await rebuild();
  expect(code, stderr).toBe(0);
  const proof = proofIn(stdout);
  expect(proof['repaired']).toBeGreaterThanOrEqual(40);
  expect(proof['compared']).toBe(await rowsOf(platform));
  expect(await markOf(green, platform)).toBeNull();
  await expectEqualTo(platform, green);
  await publisher.stop();
});

it('a graph with something in it is refused; --force-empty removes what is of this mapping, and nothing else', async () => {
  platform = await filled('holds', 100);
  const publisher = await publishedBy(platform);
  const { labels } = platform.names;
  await green.cypher(`CREATE (:Other {id: 1})`);
  const foreign = await rebuild();
  expect(foreign).toMatchObject({ code: 1, stdout: '' });
  expect(foreign.stderr).toMatch(/^The graph to be filled holds 1 nodes and 0 relationships, 0 of/m);
  expect(await green.cypher('MATCH (n) RETURN count(n) AS n')).toEqual([{ n: 1n }]);

  await green.cypher(`UNWIND range(1, 25000) AS i CREATE (:${labels.entity} {id: 'x' + i})`);
  const { code, stderr } = await rebuild('--force-empty');
  expect(code, stderr).toBe(0);
  await expectEqualTo(platform, green);
  expect(await green.cypher('MATCH (n:Other) RETURN count(n) AS n')).toEqual([{ n: 1n }]);

  const projector = platform.start(['project'], asGreen());
  await projector.logged(/partitions assigned/);
  const used = await rebuild('--force-empty');
  expect(used).toMatchObject({ code: 1, stdout: '' });
  expect(used.stderr).toMatch(/^1 projectors of the graph are at work/m);
  await expectCurrent();
  await expectEqualTo(platform, green);
  await projector.stop();
  await publisher.stop();
});

it('the graph in use is not filled beside itself, whatever name its server goes by', async () => {
  platform = await filled('itself', 20);
  const publisher = await publishedBy(platform);
  const projector = platform.start(['project']);
  await platform.expectEqual();
  await projector.stop();
  const uri = (platform.env['NEO4J_URI'] ?? '').replace('127.0.0.1', 'localhost');
  const forced = async (there: string, env: Readonly<Record<string, string>>, why: RegExp) => {
    const { code, stdout, stderr } = await platform.run(['rebuild', '--into', there, '--force-empty'], env);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(why);
  };
  const itself = /^--into names the graph that is in use \(NEO4J_URI\)\..*--in-place/m;
  await forced(`${uri}/neo4j`, {}, itself);
  await forced(`${uri}/Neo4j`, {}, itself);
  await forced(uri, { NEO4J_DATABASE: 'NEO4J' }, itself);
  const unread = { ...blueCredentials(), NEO4J_USERNAME: 'nobody' };
  await forced(uri, unread, /^Neo4j at \S+ refused the credentials\. So nothing tells .*unset NEO4J_URI/m);
  const [blue] = await platform.cypher('MATCH (g:_Graph {id: $id}) RETURN g.uuid AS uuid', {
    id: platform.name,
  });
  await green.cypher('CREATE (:_Graph {id: $id, uuid: $uuid})', { id: platform.name, ...blue });
  await forced(green.uri, credentials(), /^The graph that --into names has the id of the one in use/m);
  expect(await markOf(platform, platform)).toBeNull();
  await expectEqualTo(platform, platform);
  await publisher.stop();
});
