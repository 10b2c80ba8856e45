/** Copies of a graph by Neo4j's files: beside it each is a graph of its own, and one in its place is found out. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import {
  createPlatform,
  eventually,
  FOUND_MS,
  type Platform,
  type Process,
  underLoad,
  within,
} from '../support/platform.ts';
import { expectEqualTo } from '../support/rebuilds.ts';
import { copyStore, type SecondNeo4j, startSecondNeo4j } from '../support/second-neo4j.ts';
import { soak } from '../support/soak.ts';

let graph: SecondNeo4j;
let copy: SecondNeo4j;
let platform: Platform;
beforeAll(async () => {
  if (soak) [graph, copy] = await Promise.all([startSecondNeo4j(), startSecondNeo4j()]);
});
afterEach(() => platform.dispose());
afterAll(async () => {
  if (soak) await Promise.all([graph.stop(), copy.stop()]);
});

const on = ({ uri, password }: SecondNeo4j) => ({ NEO4J_URI: uri, NEO4J_PASSWORD: password });

async function expectCurrent(of: SecondNeo4j): Promise<void> {
  const { code, stderr } = await platform.run(['wait'], on(of));
  expect(code, stderr).toBe(0);
}

/** As a restart of the server with another store. */
async function replace(to: SecondNeo4j, from: SecondNeo4j, parts?: readonly string[]): Promise<void> {
  await Promise.all([to.server.stop(), from.server.stop()]);
  copyStore(from, to, parts);
  await Promise.all([to.server.start(), from.server.start()]);
}

const groupsOf = async (...projectors: readonly Process[]) =>
  Promise.all(projectors.map(async (one) => (await one.logged(/partitions assigned/))['groupId']));

it.runIf(soak)(
  'in a soak test alone: a store that was copied to another server shares no partitions with it',
  async () => {
    platform = await createPlatform('copied');
    const publisher = platform.start(['publish']);
    const first = platform.start(['project'], on(graph));
    await first.logged(/partitions assigned/);
    await underLoad(platform, () => expectCurrent(graph));
    await first.stop();
    await replace(copy, graph);
    const uuids = [graph, copy].map(async ({ cypher }) => cypher('MATCH (g:_Graph) RETURN g.uuid AS uuid'));
    const [ours, theirs] = await Promise.all(uuids);
    expect(theirs).toEqual(ours);

    const both = [graph, copy].map((of) => platform.start(['project'], on(of)));
    expect(new Set(await groupsOf(...both)).size).toBe(2);
    await underLoad(platform, async () => {
      await Promise.all([graph, copy].map(expectCurrent));
    });
    for (const of of [graph, copy]) {
      await expectCurrent(of);
      await expectEqualTo(platform, of);
    }
    for (const projector of both) await projector.stop();
    await publisher.stop();
  },
);

it.runIf(soak)(
  'in a soak test alone: a store that is put in the place of the one in use is found out',
  async () => {
    platform = await createPlatform('replaced');
    for (const { clear } of [graph, copy]) await clear();
    const publisher = platform.start(['publish']);
    const before = platform.start(['project'], on(graph));
    await before.logged(/partitions assigned/);
    await underLoad(platform, () => expectCurrent(graph));
    await before.stop();
    await replace(copy, graph);
    const projector = platform.start(['project'], on(graph));
    await projector.logged(/partitions assigned/);
    await platform.sql.query('delete from entity where id in (select id from entity order by id limit 30)');
    await expectCurrent(graph);

    // An old backup. Nothing is written meanwhile.
    await replace(graph, copy);
    await within('it finds out', projector.logged(/lost its session/, 'PROGRESS_LOST'));
    await eventually(
      'it goes on from there',
      async () => (await platform.run(['wait', '--timeout', '1'], on(graph))).code === 0,
      FOUND_MS,
    );
    await expectEqualTo(platform, graph);

    // The graph of another source.
    await copy.cypher(`MATCH (g:_Graph) SET g.source = '1/other'`);
    await replace(graph, copy);
    expect(await within('it finds out', projector.exited)).toBe(1);
    expect(projector.stderr()).toMatch(/^The graph holds the data of another source .* 1\/other/m);
    await publisher.stop();
  },
);
