/** What the tests of `graph recover` share: a gap that something changes in, and the way from it to a proved graph. */
import { expect } from 'vitest';
import { fill } from './fill.ts';
import {
  createPlatform,
  eventually,
  type Finished,
  type Platform,
  type Process,
  underLoad,
  within,
} from './platform.ts';
import { epochOf, lsnFrom, writtenBy } from './rebuilds.ts';

export interface Status {
  readonly recovery: unknown;
  readonly tables: readonly { readonly verified: { readonly through: string } | null }[];
}

export async function replicating(): Promise<{ readonly platform: Platform; readonly replicator: Process }> {
  const platform = await createPlatform('gap');
  await fill(platform.sql, { seed: 7, entities: 300 });
  const replicator = platform.start(['replicate']);
  await replicator.logged(/partitions assigned/);
  await platform.expectEqual();
  return { platform, replicator };
}

/** What a replicator that is away does not see: some rows go, some change. */
export async function changeInTheGap(platform: Platform): Promise<readonly string[]> {
  const { rows } = await platform.sql.query<{ id: string }>(
    `delete from entity where id in (select id from entity order by id limit 10) returning id::text`,
  );
  await platform.sql.query(
    `update entity set last_updated_at = now() where id in (select id from entity order by id limit 20)`,
  );
  return rows.map(({ id }) => id);
}

export async function expectGone(platform: Platform, ids: readonly string[]): Promise<void> {
  const [found] = await platform.cypher(
    `MATCH (n:${platform.names.labels.entity}) WHERE n.id IN $ids AND NOT n:Stub RETURN count(n) AS n`,
    { ids },
  );
  expect(found?.['n']).toBe(0n);
}

/** Ends by itself with this error and what to do. */
export async function expectRefused(process: Process, said: RegExp): Promise<void> {
  const code = await within('it ends', process.exited);
  expect({ code, stderr: process.stderr() }).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(said) as string,
  });
  expect(process.stderr()).toMatch(/graph recover/);
}

export const syncData = (platform: Platform, ...mode: readonly string[]): Promise<Finished> =>
  platform.run(['sync-data', ...mode, '--check-results-file', `${platform.connectors}/r.json`]);

/** On a terminal, in answer to its question. */
export async function typed(platform: Platform, answer: string): Promise<Process> {
  const asking = platform.start(['recover'], {}, { terminal: true });
  await eventually('it asks', () => Promise.resolve(asking.stdout().includes('Type "recover"')));
  asking.child.stdin?.write(`${answer}\n`);
  return asking;
}

/** From the gap to a proved graph, with the replicator under load meanwhile. */
export async function recover(platform: Platform, said: RegExp): Promise<void> {
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
    const { code, stderr } = await syncData(platform, ...mode);
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
