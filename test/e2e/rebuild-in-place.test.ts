/** `graph rebuild --in-place`: the only graph is emptied and built again, after all that could be wrong has been looked at. */
import { afterEach, expect, it } from 'vitest';
import { edit, eventually, type Platform, underLoad } from '../support/platform.ts';
import {
  expectEqualTo,
  filled,
  markOf,
  proofIn,
  publishedBy,
  recordsOf,
  topicsOf,
} from '../support/rebuilds.ts';

let platform: Platform;
afterEach(() => platform.dispose());

const inPlace = (...args: readonly string[]) => ['rebuild', '--in-place', ...args];

async function damage(): Promise<void> {
  const { labels } = platform.names;
  await platform.cypher(
    `MATCH (n:${labels.entity}) WHERE NOT n:Stub WITH n LIMIT 20 SET n.title = 'damaged'`,
  );
}
async function damaged(): Promise<bigint> {
  const [row] = await platform.cypher(
    `MATCH (n:${platform.names.labels.entity} {title: 'damaged'}) RETURN count(n) AS n`,
  );
  return row?.['n'] as bigint;
}

it('is asked for twice, waits for projectors to be stopped, and ends with the same graph', async () => {
  platform = await filled('place', 300);
  const publisher = await publishedBy(platform);
  const projector = platform.start(['project']);
  await platform.expectEqual(120);
  await damage();

  const used = await platform.run(inPlace('--yes'));
  expect(used).toMatchObject({ code: 1, stdout: '' });
  expect(used.stderr).toMatch(/^1 projectors of the graph are at work.*Stop graph project/m);
  await projector.stop();

  const unconfirmed = await platform.run(inPlace());
  expect(unconfirmed).toMatchObject({ code: 2, stdout: '' });
  expect(unconfirmed.stderr).toMatch(
    /\d+ nodes of the graph neo4j at bolt.* are removed.* from some \d+ records/,
  );
  expect(unconfirmed.stderr).toMatch(/Readers will see an incomplete graph for some \d+ (seconds|minutes)/);
  expect(unconfirmed.stderr).toMatch(/nothing is changed; .* --yes/);
  const asking = platform.start(inPlace(), {}, { terminal: true });
  await eventually('it asks', () => Promise.resolve(asking.stdout().includes('Type ')));
  const meanwhile = platform.start(['project']);
  await meanwhile.logged(/partitions assigned/);
  asking.child.stdin?.write('neo4j\n');
  expect(await asking.exited).toBe(1);
  expect(asking.stdout()).toMatch(/1 projectors of the graph are at work/);
  await meanwhile.stop();
  expect(await damaged()).toBe(20n);
  expect(await markOf(platform, platform)).toBeNull();

  const done = await platform.run(inPlace('--yes'));
  expect(done.code, done.stderr).toBe(0);
  const proof = proofIn(done.stdout);
  expect(proof).toMatchObject({ event: 'proved', repaired: 0 });
  expect(await markOf(platform, platform)).toBeNull();
  await expectEqualTo(platform, platform);

  const again = platform.start(['project']);
  await again.logged(/partitions assigned/);
  await platform.expectEqual();
  await again.stop();
  await publisher.stop();
});

it('killed while it empties the graph, says so to everyone until it is brought to its end', async () => {
  platform = await filled('emptied', 200);
  const publisher = await publishedBy(platform);
  const projector = platform.start(['project']);
  await platform.expectEqual();
  const proving = await platform.run([
    ...['sync-data', '--whole-graph', '--deep', '--check-results-file', `${platform.connectors}/proof.json`],
  ]);
  expect(proving.code, proving.stderr).toBe(0);
  expect((await platform.run(['status'])).stdout).toMatch(/verified through/);
  await projector.stop();
  const { entity } = platform.names.labels;
  for (let thousand = 0; thousand < 120; thousand += 30)
    await platform.cypher(
      `UNWIND range($thousand * 1000, ($thousand + 30) * 1000 - 1) AS i CREATE (:${entity} {id: 'x' + i})`,
      { thousand },
    );
  const left = async () => {
    const [row] = await platform.cypher(`MATCH (n:${entity}) RETURN count(n) AS n`);
    return Number(row?.['n']);
  };
  const before = await left();
  const run = platform.start(inPlace('--yes'));
  await eventually('some is removed', async () => (await left()) < before, 60_000);
  await run.kill('SIGKILL');
  expect(await markOf(platform, platform)).toBe('emptying');
  expect(await left()).toBeGreaterThan(0);
  const status = await platform.run(['status']);
  expect(status).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/^REBUILDING \(emptying\) since \S+: run graph rebuild/m) as string,
  });
  expect(status.stdout).not.toMatch(/verified through/);
  const [graph] = await platform.cypher('MATCH (g:_Graph {id: $name}) RETURN g.provedThrough AS proved', {
    name: platform.name,
  });
  expect(graph).toEqual({ proved: null });

  const refused = await platform.run(['project'], { LOG_LEVEL: 'error' });
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/^The graph is being emptied by a rebuild.*Run graph rebuild on it again/m);
  expect(
    await platform.cypher('MATCH (p:_Progress {namespace: $name}) RETURN p', { name: platform.name }),
  ).toEqual([]);

  const following = platform.start(inPlace('--follow'));
  await eventually('it is proved', () => Promise.resolve(following.stdout() !== ''), 60_000);
  await expectEqualTo(platform, platform);
  // It is in use again, and may be compared.
  const compared = await platform.run([
    'sync-data',
    '--dry-run',
    '--check-results-file',
    `${platform.connectors}/report.json`,
  ]);
  expect(compared.code, compared.stderr).toBe(0);
  await following.stop();
  proofIn(following.stdout());
  await publisher.stop();
});

it('a projector that was paused meanwhile writes nothing of what it held', async () => {
  platform = await filled('paused', 300);
  const publisher = await publishedBy(platform);
  const projector = platform.start(['project']);
  await platform.expectEqual();
  await underLoad(platform, async () => {
    projector.child.kill('SIGSTOP');
    await eventually(
      'it is at work no longer, and the graph is built again',
      async () => {
        const { code, stderr } = await platform.run(inPlace('--yes'));
        if (code !== 0) expect(stderr).toMatch(/projectors of the graph are at work/);
        return code === 0;
      },
      180_000,
    );
    projector.child.kill('SIGCONT');
    await projector.logged(/partitions assigned/);
  });
  await platform.expectEqual();
  await projector.stop();
  await publisher.stop();
});

it('relationships wait for nodes; ended meanwhile, it goes on beside a projector that was started since', async () => {
  platform = await filled('shared', 300);
  edit(`${platform.connectors}/sink.neo4j.json`, (json) => {
    // So that there is a middle to be ended in.
    json['batch'] = { maxRecords: 5, maxBytes: 1_000_000 };
  });
  const publisher = await publishedBy(platform);
  const [entity = '', relation = '', extract = '', link = ''] = topicsOf(platform);
  const reached = async (...topics: readonly string[]) => {
    const [row] = await platform.cypher(
      `MATCH (p:_Progress {namespace: $name}) WHERE p.topic IN $topics RETURN sum(p.next) AS n`,
      { name: platform.name, topics },
    );
    return Number(row?.['n']);
  };

  const run = platform.start(inPlace('--yes'));
  await eventually('nodes come', async () => (await reached(entity)) > 0);
  const session = platform.driver.session();
  const held = session.beginTransaction();
  await held.run('MATCH (p:_Progress {topic: $entity, partition: 0}) SET p._lock = true', { entity });
  const extracts = await recordsOf(platform, [extract]);
  await eventually('other nodes have come', async () => (await reached(extract)) === extracts);
  expect(await reached(relation, link)).toBe(0);
  const ended = run.kill('SIGTERM');
  await held.rollback();
  await session.close();
  expect(await ended).toBe(143);
  expect(await reached(relation, link)).toBe(0);
  expect(await markOf(platform, platform)).toBe('building');

  const projector = platform.start(['project']);
  await projector.logged(/partitions assigned/);
  const beside = platform.start(inPlace('--yes'));
  expect((await beside.logged(/partitions assigned/))['partitions']).toHaveLength(8);
  expect(await beside.exited, beside.stderr().slice(-3000)).toBe(0);
  expect(proofIn(beside.stdout())).toMatchObject({ repaired: 0 });
  await platform.expectEqual();
  await projector.stop();
  await publisher.stop();
});
