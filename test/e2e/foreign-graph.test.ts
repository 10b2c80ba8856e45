/** A graph that holds the data of another source, or comes to hold it: nothing is written to it, nothing compared with it. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPlatform, type Platform, within } from '../support/platform.ts';

const SAID =
  /^The graph holds the data of another source \(.* 1\/other, not \d+\/foreign_\w+\)\. Check .*\n$/;

let platform: Platform;
beforeAll(async () => {
  platform = await createPlatform('foreign');
});
afterAll(() => platform.dispose());

it('belongs to the source that was first projected into it, and is refused by any other', async () => {
  const first = platform.start(['replicate']);
  await first.logged(/partitions assigned/);
  await platform.expectEqual();
  const named = (source: string | null) =>
    platform.cypher(
      'MATCH (g:_Graph {id: $name}) WITH g, g.source AS was SET g.source = $source RETURN was',
      {
        name: platform.name,
        source,
      },
    );
  const [claimed] = await named('1/other');
  const found = within('idle as it is, it finds out', first.exited);
  expect(claimed?.['was']).toMatch(new RegExp(`^\\d+/${platform.name}$`));
  const file = join(platform.connectors, 'report.json');
  const checked = await platform.run(['sync-data', '--check-results-file', file], { LOG_LEVEL: 'error' });
  expect(checked).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(SAID) as string });
  expect(existsSync(file)).toBe(false);
  expect(await found).toBe(1);
  expect(first.stderr().split('\n').at(-2)).toMatch(/^The graph holds the data of another source/);

  // What such a graph knows of topics is no gap of ours: nothing is given up for it.
  const otherTopics = () =>
    platform.cypher('MATCH (p:_Progress {namespace: $name}) SET p.generation = reverse(p.generation)', {
      name: platform.name,
    });
  await otherTopics();
  for (const args of [
    ['recover', '--yes'],
    ['wait'],
    ['sync-data', '--check-results-file', file, '--whole-graph', '--deep'],
  ]) {
    const { code, stdout, stderr } = await platform.run(args, { LOG_LEVEL: 'error' });
    expect({ args, code, stdout, stderr }).toEqual({
      args,
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(SAID) as string,
    });
  }
  const status = await platform.run(['status', '--json'], { LOG_LEVEL: 'error' });
  expect(JSON.parse(status.stdout)).toMatchObject({
    gaps: null,
    gapsError: expect.stringMatching(/^The graph holds the data of another source/) as string,
  });
  const slots = await platform.sql.query('select from pg_replication_slots where slot_name = $1', [
    platform.name,
  ]);
  expect(slots.rowCount).toBe(1);
  await otherTopics();

  const refused = await platform.run(['project'], { LOG_LEVEL: 'silent' });
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(SAID) as string });
  await named(null);
  const again = platform.start(['replicate']);
  await again.logged(/partitions assigned/);
  await platform.expectEqual();
  await again.stop();
});
