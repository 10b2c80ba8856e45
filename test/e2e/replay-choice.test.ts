/** `graph replay` of rows that are known: which records are chosen, what each of them comes to, and a mapping that has changed. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKafka } from '../../src/kafka/client.ts';
import { endOffsets, withAdmin } from '../../src/kafka/topics.ts';
import { silent } from '../support/kafka.ts';
import { createPlatform, edit, eventually, type Platform, type Process } from '../support/platform.ts';
import { graphAsItIs, named, replayReport } from '../support/replay.ts';

let platform: Platform;
let projector: Process;
let publisher: Process;
/** Between the first rows and the rest, on a whole second of all clocks. */
let since: Date;

const uuid = (n: number) => `0a000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
const cypher = (query: string, parameters: object = {}) =>
  platform.cypher(named(platform, query), { name: platform.name, ...parameters });

/** What each table's records come to if nothing is wrong with the graph, by hand. */
const RECORDS = { entity: 15, relation: 6, extract: 8, entity_extract: 1 };

beforeAll(async () => {
  platform = await createPlatform('choice');
  publisher = platform.start(['publish', '--no-initial-load']);
  projector = platform.start(['project']);
  await publisher.logged(/streaming/);
  await platform.sql.query(
    `insert into entity select ('0a000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'report',
            jsonb_build_object('title', 'T' || i, 'score', i), '{}', now(), now()
       from generate_series(1, 10) i`,
  );
  await platform.sql.query(
    `insert into relation select ('0b000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'uses', null, $1, 'report',
            $2, 'report', '{}', now(), now() from generate_series(1, 4) i`,
    [uuid(1), uuid(2)],
  );
  await platform.sql.query(
    `insert into extract select i, 'ipv4', '10.0.0.' || i, '{}', now(), now() from generate_series(1, 3) i`,
  );
  await platform.expectEqual();
  since = new Date(Math.ceil(Date.now() / 1000) * 1000);
  await eventually('the next second', () => Promise.resolve(Date.now() >= since.getTime()));
  await platform.sql.query(
    `update entity set data = data || '{"title": "newer"}', last_updated_at = now() where id = any($1)`,
    [[uuid(1), uuid(2), uuid(3)]],
  );
  await platform.sql.query('delete from entity where id = any($1)', [[uuid(9), uuid(10)]]);
  await platform.sql.query(
    `update relation set target_id = $1 where id = '0b000000-0000-4000-8000-000000000001'`,
    [uuid(3)],
  );
  await platform.sql.query(`delete from relation where id = '0b000000-0000-4000-8000-000000000004'`);
  await platform.sql.query('truncate extract');
  await platform.sql.query(`insert into extract values (4, 'ipv4', '10.0.0.4', '{}', now(), now())`);
  await platform.sql.query(`insert into entity_extract values ($1, 4, 'observed', now(), now())`, [uuid(1)]);
  await platform.expectEqual();
});
afterAll(() => platform.dispose());

async function rehearsed(...args: readonly string[]): Promise<Record<string, Record<string, number>>> {
  const { code, stdout, stderr } = await platform.run(['replay', '--dry-run', ...args]);
  expect(code, stderr.slice(-2000)).toBe(0);
  return replayReport(stdout);
}

async function records(...args: readonly string[]): Promise<Record<string, number | undefined>> {
  const counts = await rehearsed(...args);
  return Object.fromEntries(Object.entries(counts).map(([table, count]) => [table, count['records']]));
}

async function entityEnds(): Promise<readonly { readonly partition: number; readonly end: bigint }[]> {
  const topic = `${platform.name}.public.entity`;
  const kafka = createKafka({ brokers: [platform.env['KAFKA_BROKERS'] ?? ''], clientId: 'test' }, silent);
  return (await withAdmin(kafka, (admin) => endOffsets(admin, [topic]))).get(topic) ?? [];
}

const day = (date: Date) => date.toISOString().slice(0, 19).replace('T', ' ');

describe('what is read', () => {
  it('is everything, the topics that are named, or what was published since', async () => {
    const { entity, relation, extract, entity_extract } = RECORDS;
    expect(await records()).toEqual({
      'public.entity': entity,
      'public.relation': relation,
      'public.extract': extract,
      'public.entity_extract': entity_extract,
    });
    expect(await records('--topics', `relation,${platform.name}.public.extract`)).toEqual({
      'public.relation': relation,
      'public.extract': extract,
    });
    const later = {
      'public.entity': 5,
      'public.relation': 2,
      'public.extract': 5,
      'public.entity_extract': 1,
    };
    expect(await records('--from', day(since))).toEqual(later);
    const inTokyo = day(new Date(since.getTime() + 9 * 3_600_000));
    expect(await records('--from', inTokyo, '--timezone', 'Asia/Tokyo')).toEqual(later);
    expect(await records('--from', inTokyo, '--topics', 'entity')).toEqual({ 'public.entity': 0 });
  });

  it('begins at the offsets that are named; one that its partition does not have is wrong usage', async () => {
    const topic = `${platform.name}.public.entity`;
    const full = (await entityEnds()).filter(({ end }) => end > 1n);
    expect(full.length).toBeGreaterThan(0);
    const from = full.map(({ partition }) => `${topic}:${partition}:1`).join(',');
    const sum = full.reduce((total, { end }) => total + Number(end), 0);
    expect(await records('--from', from)).toEqual({ 'public.entity': sum - full.length });
    const [{ partition, end } = { partition: 0, end: 0n }] = full;
    expect(await records('--from', `entity:${partition}:${end}`)).toEqual({ 'public.entity': 0 });

    const before = await graphAsItIs(platform);
    const wrong = [
      ['--from', `entity:${partition}:${end + 1n}`],
      ['--from', 'entity:99:0'],
      ['--from', 'latest'],
      ['--from', '2026-02-30'],
      ['--from', '2026-02-03', '--timezone', 'Mars'],
      ['--from', 'entity:0:0', '--topics', 'relation'],
      ['--topics', 'blob'],
      ['--dry-run', '--max-wait', 'long'],
    ];
    for (const args of wrong) {
      const { code, stdout, stderr } = await platform.run(['replay', ...args], { LOG_LEVEL: 'silent' });
      expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: '' });
      expect(stderr, args.join(' ')).toMatch(/^.+\n$/);
    }
    expect(await graphAsItIs(platform)).toBe(before);
  });
});

describe('a rehearsal', () => {
  it('counts what each record would come to', async () => {
    expect(await rehearsed()).toMatchObject({
      'public.entity': { 'would change something': 0, 'are there already': 10, 'are older': 5 },
      'public.relation': { 'would change something': 0, 'are there already': 4, 'are older': 2 },
      'public.extract': { 'would change something': 0, 'are there already': 5, 'are older': 3 },
    });
    await cypher(`MATCH (n:$Entity {id: $id}) SET n.title = 'damaged'`, { id: uuid(1) });
    await cypher(`MATCH (n:$Entity {id: $id}) REMOVE n:Report`, { id: uuid(5) });
    await cypher(`MATCH (n:$Entity {id: $id}) DELETE n`, { id: uuid(6) });
    await cypher(`CREATE (:$Entity {id: $id, title: 'ghost'}), (:$Extract {id: 1, value: 'ghost'})`, {
      id: uuid(9),
    });
    await cypher(
      `MATCH ()-[r:$RELATED {id: '0b000000-0000-4000-8000-000000000001'}]->(), (a:$Entity {id: $a}), (b:$Entity {id: $b})
       WITH r, a, b, properties(r) AS content DELETE r CREATE (a)-[moved:$RELATED]->(b) SET moved = content`,
      { a: uuid(2), b: uuid(1) },
    );
    const before = await graphAsItIs(platform);
    const none = { 'would be asked for again': 0, 'cannot be applied': 0 };
    expect(await rehearsed()).toEqual({
      'public.entity': {
        records: RECORDS.entity,
        'would change something': 3,
        'would delete something': 1,
        'are there already': 6,
        'are older': 5,
        ...none,
      },
      'public.relation': {
        records: RECORDS.relation,
        'would change something': 1,
        'would delete something': 0,
        'are there already': 3,
        'are older': 2,
        ...none,
      },
      'public.extract': {
        records: RECORDS.extract,
        'would change something': 0,
        'would delete something': 0,
        'are there already': 5,
        'are older': 3,
        'truncates would delete': 1,
        ...none,
      },
      'public.entity_extract': {
        records: RECORDS.entity_extract,
        'would change something': 0,
        'would delete something': 0,
        'are there already': 1,
        'are older': 0,
        ...none,
      },
    });
    expect(await graphAsItIs(platform)).toBe(before);
    const { code, stdout } = await platform.run(['replay']);
    expect(code).toBe(0);
    expect(replayReport(stdout)['public.entity']).toEqual({
      records: RECORDS.entity,
      applied: 10,
      'are older': 5,
      'asked for again': 0,
      'cannot be applied': 0,
    });
    await platform.expectEqual();
  });
});

describe('with connector files that have changed', () => {
  let changed: string;
  beforeAll(() => {
    changed = mkdtempSync(join(tmpdir(), 'connectors-'));
    cpSync(platform.connectors, changed, { recursive: true });
  });
  afterAll(() => {
    rmSync(changed, { recursive: true });
  });
  const map = (name: string, source: object) => {
    edit(join(changed, 'entities', 'entity.json'), (json) => {
      const { properties } = json['node'] as { properties: Record<string, unknown> };
      properties[name] = source;
    });
  };

  it('every record is read by them: what is in it gets into the graph', async () => {
    map('score', { column: 'data', path: ['score'] });
    const { stdout } = await platform.run(['replay', '--dry-run'], { CONNECTORS_DIR: changed });
    expect(replayReport(stdout)['public.entity']).toMatchObject({ 'would change something': 8 });
    expect((await platform.run(['replay'], { CONNECTORS_DIR: changed })).code).toBe(0);
    expect(
      await cypher('MATCH (n:$Entity) WHERE NOT n:Stub RETURN n.id AS id, n.score AS score ORDER BY id'),
    ).toEqual(Array.from({ length: 8 }, (_, i) => ({ id: uuid(i + 1), score: String(i + 1) })));
  });

  it('a value with another type: its relationships are counted, go over to it, and go back', async () => {
    const swapped = mkdtempSync(join(tmpdir(), 'connectors-'));
    cpSync(platform.connectors, swapped, { recursive: true });
    edit(join(swapped, 'entities', 'entity_extract.json'), (json) => {
      const { type } = json['relationship'] as { type: { values: Record<string, unknown> } };
      type.values = { observed: type.values['sighted'], sighted: type.values['observed'] };
    });
    const replay = ['replay', '--topics', 'entity_extract'];
    const types = async () =>
      (
        await platform.cypher(`MATCH ()-[r {_key: $key}]->() RETURN type(r) AS type`, {
          key: JSON.stringify([uuid(1), '4', 'observed']),
        })
      ).map(({ type }) => type);
    const { observed, sighted } = platform.names.types;

    const { stdout } = await platform.run([...replay, '--dry-run'], { CONNECTORS_DIR: swapped });
    expect(replayReport(stdout)['public.entity_extract']).toMatchObject({ 'would change something': 1 });
    expect(await types()).toEqual([observed]);
    expect((await platform.run(replay, { CONNECTORS_DIR: swapped })).code).toBe(0);
    expect(await types()).toEqual([sighted]);
    expect((await platform.run(replay)).code).toBe(0);
    expect(await types()).toEqual([observed]);
    rmSync(swapped, { recursive: true });
  });

  it('a column that no record has: each of them is counted first, and is a dead letter then', async () => {
    map('more', { column: 'more' });
    const letters = async () =>
      (JSON.parse((await platform.run(['dead-letters', 'list', '--json'])).stdout) as unknown[]).length;
    const before = await graphAsItIs(platform);
    const { code, stdout } = await platform.run(['replay', '--dry-run'], { CONNECTORS_DIR: changed });
    expect(code).toBe(0);
    expect(replayReport(stdout)['public.entity']).toMatchObject({ 'cannot be applied': 13 });
    expect(await letters()).toBe(0);
    expect(await graphAsItIs(platform)).toBe(before);
    const run = await platform.run(['replay', '--topics', 'entity'], {
      CONNECTORS_DIR: changed,
      LOG_LEVEL: 'silent',
    });
    expect(run.code).toBe(1);
    expect(run.stderr).toMatch(/^13 records could not be applied: .*\n$/);
    // By key: the latest letter of each.
    expect(await letters()).toBe(10);
  });
});

describe('beside the stream', () => {
  const total = async () => (await entityEnds()).reduce((sum, { end }) => sum + Number(end), 0);

  it('ends where the stream is, and never begins if the stream does not get there', async () => {
    await projector.stop();
    const before = await total();
    await platform.sql.query(`insert into entity values ($1, 'report', '{}', '{}', now(), now())`, [
      uuid(11),
    ]);
    await eventually('the row is in Kafka', async () => (await total()) === before + 1);
    expect(await records('--topics', 'entity')).toEqual({ 'public.entity': before });
    const { code, stdout, stderr } = await platform.run(['replay', '--max-wait', '1'], {
      LOG_LEVEL: 'silent',
    });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^The graph is not there yet: .*1 records are not applied.*\n$/);
    projector = platform.start(['project']);
    expect((await platform.run(['wait'])).code).toBe(0);
    expect(await records('--topics', 'entity')).toEqual({ 'public.entity': before + 1 });
  });

  it('does not bring back what a repair without the stream has deleted, before the stream knows of it', async () => {
    const there = async () =>
      (await cypher('MATCH (n:$Entity {id: $id}) WHERE NOT n:Stub RETURN n', { id: uuid(4) })).length;
    for (const process of [publisher, projector]) await process.stop();
    await platform.sql.query('delete from entity where id = $1', [uuid(4)]);
    expect(await there()).toBe(1);
    const results = join(platform.connectors, 'report.json');
    const repair = await platform.run(['sync-data', '--direct', '--check-results-file', results]);
    expect(repair.code, repair.stderr).toBe(0);
    expect(await there()).toBe(0);
    projector = platform.start(['project']);
    await projector.logged(/partitions assigned/);
    const early = await platform.run(['replay', '--max-wait', '1'], { LOG_LEVEL: 'silent' });
    expect(early.stderr).toMatch(/no publisher is running/);
    expect(await there()).toBe(0);
    publisher = platform.start(['publish']);
    expect((await platform.run(['replay'])).code).toBe(0);
    expect(await there()).toBe(0);
    await platform.expectEqual();
  });

  it('refuses a topic that is not the one that the graph knows', async () => {
    const generation = (change: string) =>
      cypher(`MATCH (p:_Progress {namespace: $name, topic: $topic}) SET p.generation = ${change}`, {
        topic: `${platform.name}.public.extract`,
      });
    await generation(`'-' + p.generation`);
    const { code, stderr } = await platform.run(['replay', '--dry-run'], { LOG_LEVEL: 'silent' });
    await generation('substring(p.generation, 1)');
    expect(code).toBe(1);
    expect(stderr).toMatch(/^Topic .*\.public\.extract was recreated.*\n$/);
    expect((await platform.run(['replay', '--dry-run'])).code).toBe(0);
  });
});
