/** Rows that are older than the slot, and rows that are asked for again. */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { fill } from '../support/fill.ts';
import { createPlatform, edit, eventually, type Platform, underLoad } from '../support/platform.ts';
import { soak } from '../support/soak.ts';

const KILLS = soak ? 50 : 3;

let platform: Platform;
beforeEach(async () => {
  platform = await createPlatform('load');
});
afterEach(() => platform.dispose());

async function entities(): Promise<Record<string, unknown>> {
  const [row] = await platform.cypher(
    `MATCH (n:${platform.names.labels.entity}) WHERE NOT n:Stub RETURN count(n) AS all, count(DISTINCT n.type) AS types`,
  );
  return row ?? {};
}

async function loads(): Promise<{ table: string; load: { state: string; rows: number } | null }[]> {
  const { stdout } = await platform.run(['status', '--json']);
  return (JSON.parse(stdout) as { tables: Awaited<ReturnType<typeof loads>> }).tables;
}

it('a first start brings every older row, while changes go on and the publisher is killed', async () => {
  await fill(platform.sql, { seed: 7, entities: 3000 });
  const projector = platform.start(['project']);
  await underLoad(platform, async () => {
    for (let kill = 0; kill < KILLS; kill++) {
      const publisher = platform.start(['publish']);
      if (kill > 0) await publisher.logged(/streaming/);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 700));
      await publisher.kill('SIGKILL');
    }
    await platform.start(['publish']).logged(/streaming/);
    const waited = await platform.run(['wait', '--timeout', '60']);
    expect(waited.code, waited.stderr).toBe(0);
  });
  await platform.expectEqual();
  const counted = await platform.sql.query<{ n: string }>('select count(*) as n from entity');
  expect(Number(counted.rows[0]?.n)).toBeGreaterThan(2500);
  for (const { table, load } of await loads()) expect(load, table).toMatchObject({ state: 'loaded' });
  await projector.stop();
});

it('without it older rows are left out until they are asked for: by type, date, id, table', async () => {
  await fill(platform.sql, { seed: 7, entities: 2000 });
  await platform.sql.query(
    `update entity set last_updated_at = '2021-05-05T00:00:00Z' where type = 'report'`,
  );
  await platform.sql.query(
    `update entity set last_updated_at = '2020-01-01T00:00:00Z' where id = (select id from entity where type = 'report' limit 1)`,
  );
  const replicator = platform.start(['replicate', '--no-initial-load']);
  await replicator.logged(/streaming/);
  const count = async (where: string) => {
    const { rows } = await platform.sql.query<{ n: number }>(
      `select count(*)::int as n from entity where ${where}`,
    );
    return rows[0]?.n ?? 0;
  };
  const asked = async (args: readonly string[]) => {
    const done = await platform.run(['backfill', '--wait', ...args]);
    expect(done.code, done.stderr).toBe(0);
    return done.stdout;
  };
  expect((await platform.run(['wait'])).code).toBe(0);
  expect(await entities()).toEqual({ all: 0n, types: 0n });
  for (const { load } of await loads()) expect(load).toMatchObject({ state: 'skipped' });

  const indicators = await count(`type = 'indicator'`);
  expect(await asked(['--entity-types', 'indicator'])).toBe(`public.entity: ${indicators} rows asked for\n`);
  expect(await entities()).toEqual({ all: BigInt(indicators), types: 1n });

  const recent = await count(`last_updated_at > '2021-05-05T00:00:00Z'`);
  const stdout = await asked(['--table', 'entity', '--changed-after', '2021-05-05']);
  expect(stdout).toBe(`public.entity: ${recent} rows asked for\n`);
  const there = await count(`last_updated_at > '2021-05-05T00:00:00Z' or type = 'indicator'`);
  expect(await entities()).toMatchObject({ all: BigInt(there) });

  const { rows } = await platform.sql.query<{ id: string }>(
    `select id from entity where type = 'report' limit 1500`,
  );
  const ids = join(platform.connectors, 'ids.txt');
  writeFileSync(ids, rows.map(({ id }) => `${id}\n`).join(''));
  expect(await asked(['--ids-file', ids])).toBe(`public.entity: ${rows.length} rows asked for\n`);

  expect(await asked([])).toMatch(
    /^public\.entity: \d+ rows asked for\n(public\.\w+: \d+ rows asked for\n){3}$/,
  );
  await platform.expectEqual();
  await replicator.stop();
});

it('backfill --wait is back when all of it is in the graph, though large rows are answered piece by piece', async () => {
  await platform.sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at)
     select gen_random_uuid(), 'report', jsonb_build_object('text',
              (select string_agg(md5(n || ':' || m), '') from generate_series(1, 30000) m)), now(), now()
       from generate_series(1, 24) n`,
  );
  const replicator = platform.start(['replicate', '--no-initial-load']);
  await replicator.logged(/streaming/);
  const done = await platform.run(['backfill', '--table', 'entity', '--wait']);
  expect(done).toMatchObject({ code: 0, stdout: 'public.entity: 24 rows asked for\n' });
  expect(await entities()).toMatchObject({ all: 24n });
  const answers = replicator.logs.filter(({ msg }) => msg === 'republished');
  expect(answers.length).toBeGreaterThan(1);
  await replicator.stop();
});

it('a table that is added later is loaded, once older transactions have ended; until then wait, sync-data and status say so', async () => {
  await fill(platform.sql, { seed: 7, entities: 300 });
  const late = ['extract', 'entity_extract'].map((name) =>
    join(platform.connectors, 'entities', `${name}.json`),
  );
  const listed = (tables: readonly string[]) => {
    edit(join(platform.connectors, 'source.postgres.json'), (json) => {
      json['tables'] = tables.map((name) => `public.${name}`);
    });
  };
  for (const path of late) renameSync(path, `${path}.away`);
  listed(['entity', 'relation']);
  const before = platform.start(['replicate']);
  await before.logged(/streaming/);
  await eventually('both are loaded', async () =>
    (await loads()).every(({ load }) => load?.state === 'loaded'),
  );
  await before.stop();

  for (const path of late) renameSync(`${path}.away`, path);
  listed(['entity', 'relation', 'extract', 'entity_extract']);
  const older = await platform.sql.connect();
  await older.query('begin; select pg_current_xact_id()');
  const replicator = platform.start(['replicate', '--manage-publication']);
  try {
    await replicator.logged(/waits for transactions that are older/);
    const states = async () =>
      Object.fromEntries((await loads()).map(({ table, load }) => [table, load?.state]));
    expect(await states()).toEqual({
      'public.entity': 'loaded',
      'public.relation': 'loaded',
      'public.extract': 'loading',
      'public.entity_extract': 'loading',
    });
    const waited = await platform.run(['wait', '--timeout', '1']);
    expect(waited).toMatchObject({ code: 1, stdout: '' });
    expect(waited.stderr).toMatch(
      /^The graph is still loading: public\.entity_extract: not begun, public\.extract: not begun\. .*\n$/,
    );
    const file = join(platform.connectors, 'report.json');
    const checked = await platform.run(['sync-data', '--check-results-file', file]);
    expect(checked).toMatchObject({ code: 1, stdout: '' });
    expect(checked.stderr).toMatch(/still loading/);
    expect(existsSync(file)).toBe(false);
  } finally {
    // Ends the transaction.
    older.release(true);
  }
  await platform.expectEqual();
  await replicator.stop();
});

it.each<[args: readonly string[], said: RegExp]>([
  [['--table', 'nonsense'], /--table nonsense: not mapped; the tables are public\.entity, /],
  [['--entity-types', 'indicator,planet'], /--entity-types: "planet" not known/],
  [['--table', 'extract', '--entity-types', 'indicator'], /--entity-types: public\.extract has none/],
  [['--changed-after', '2024-02-30'], /2024-02-30/],
  [['--ids-file', '/nowhere/ids'], /--ids-file \/nowhere\/ids: it cannot be read \(ENOENT\)/],
  [['--ids-file', '/dev/null'], /--ids-file \/dev\/null: it is empty/],
  [['--ids-file', 'x', '--entity-types', 'ttp'], /leave out --entity-types/],
])('backfill %j is refused before anything is read', async (args, said) => {
  const { code, stdout, stderr } = await platform.run(['backfill', ...args]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(said);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});
