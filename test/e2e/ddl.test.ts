/**
 * DDL while it streams: the graph stays equal, or the publisher stops with one line that names table and column. No
 * value ever comes to stand in the wrong property.
 */
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createPlatform, edit, eventually, type Platform, type Process } from '../support/platform.ts';
import { soak } from '../support/soak.ts';
import { expectStopped } from '../support/stopped.ts';

let platform: Platform;
let replicator: Process;
beforeEach(async () => {
  platform = await createPlatform('ddl');
  replicator = platform.start(['replicate']);
  await replicator.logged(/streaming/);
  await platform.sql.query(`
    insert into entity select gen_random_uuid(), 'ttp', jsonb_build_object('title', 'before ' || i), '{}', now(), now()
      from generate_series(1, 5) i;
    insert into extract values (1, 'ipv4', '10.0.0.1', '{}', now(), now());
    insert into relation (id, key, source_id, source_type, target_id, target_type, created_at, last_updated_at)
      select gen_random_uuid(), 'uses', id, 'ttp', id, 'ttp', now(), now() from entity`);
  await platform.expectEqual();
});
afterEach(() => platform.dispose());

const graph = () =>
  platform.cypher(
    `MATCH (n) WHERE any(label IN labels(n) WHERE label IN $labels)
     OPTIONAL MATCH (n)-[r]->(m)
     RETURN labels(n) AS labels, properties(n) AS node, type(r) AS type, properties(r) AS edge ORDER BY n.id, r.id`,
    { labels: Object.values(platform.names.labels) },
  );

const ENTITY = `insert into entity (id, type, data, created_at, last_updated_at)
  values (gen_random_uuid(), 'ttp', '{"title": "after"}', now(), now())`;
const EXTRACT = `insert into extract values (2, 'ipv4', '10.0.0.2', '{}', now(), now())`;
const WITHOUT_META = `insert into extract (id, kind, value, created_at, last_updated_at) values (2, 'a', 'b', now(), now())`;

describe('the publisher stops, naming table and column, and nothing after it is in the graph, when', () => {
  async function stops(ddl: string, write: string, message: RegExp): Promise<void> {
    const before = await graph();
    await platform.sql.query(ddl);
    await platform.sql.query(write);
    expect(await replicator.exited).toBe(1);
    const lines = replicator
      .stderr()
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('{'));
    expect(lines).toEqual([expect.stringMatching(message)]);
    const projector = platform.start(['project']);
    await projector.logged(/projecting/);
    await projector.stop();
    expect(await graph()).toEqual(before);
  }

  type Case = [string, string, string, RegExp];
  it.each<Case>([
    [
      'a mapped column is dropped',
      'alter table extract drop column meta',
      WITHOUT_META,
      /Column meta of public\.extract is gone/,
    ],
    [
      'a mapped column is dropped in the transaction that writes',
      'select',
      `begin; alter table extract drop column meta; ${WITHOUT_META}; commit`,
      /Column meta of public\.extract is gone/,
    ],
    [
      'the key becomes text',
      'alter table extract alter column id type text using id::text',
      EXTRACT.replace('(2,', `('two',`),
      /Column id of public\.extract has another type.*needs bigint/,
    ],
    [
      'a timestamp loses its time zone',
      'alter table entity alter column last_updated_at type timestamp',
      ENTITY,
      /Column last_updated_at of public\.entity has another type/,
    ],
    [
      'the primary key is dropped',
      'alter table entity drop constraint entity_pkey',
      ENTITY,
      /key \(id\) of public\.entity has no unique index: create unique index/,
    ],
    [
      'the replica identity no longer holds large values',
      'alter table entity replica identity default',
      ENTITY,
      /data, .* in public\.entity .*replica identity full;/,
    ],
  ])('%s', (_, ddl, write, message) => stops(ddl, write, message));

  it.runIf(soak).each<Case>([
    [
      'the key is renamed',
      'alter table entity rename column id to uid',
      ENTITY.replace('(id,', '(uid,'),
      /Column id of public\.entity is gone/,
    ],
    [
      'a timestamp becomes text',
      'alter table entity alter column last_updated_at type text using last_updated_at::text',
      ENTITY,
      /Column last_updated_at of public\.entity has another type.*needs timestamp with time zone/,
    ],
    [
      'the primary key becomes another one',
      'alter table extract drop constraint extract_pkey; alter table extract add primary key (kind, value)',
      EXTRACT.replace('(2,', '(1,'),
      /key \(id\) of public\.extract has no unique index/,
    ],
    [
      'the primary key becomes a wider one',
      'alter table entity drop constraint entity_pkey; alter table entity add primary key (id, type)',
      `insert into entity select id, 'report', data, meta, created_at, now() from entity limit 1`,
      /key \(id\) of public\.entity has no unique index/,
    ],
    [
      'a key column may be null',
      'alter table extract drop constraint extract_pkey; create unique index on extract (id); alter table extract alter column id drop not null',
      EXTRACT.replace('(2,', '(null,'),
      /Key column id of public\.extract may be null/,
    ],
    [
      'the table gets another name',
      'alter table extract rename to observable',
      EXTRACT.replace('into extract', 'into observable'),
      /Table public\.extract is called public\.observable now/,
    ],
  ])('in a soak test alone: %s', (_, ddl, write, message) => stops(ddl, write, message));
});

it('a table that is renamed stops the publisher, and when its name is back, nothing that happened meanwhile is lost', async () => {
  await platform.sql.query(`
    insert into extract select i, 'ipv4', i::text, '{}', now(), now() from generate_series(2, 9) i`);
  await platform.sql.query('alter table extract rename to observable; delete from observable where id = 1');
  expect(await replicator.exited).toBe(1);
  expect(replicator.stderr()).toMatch(/Table public\.extract is called public\.observable now/);
  await platform.sql.query('delete from observable where id = 2');
  const under = async (name: string, id: number) => {
    await platform.sql
      .query(`alter table public.observable rename to ${name}; delete from ${name} where id = ${id};
      update ${name} set value = value || '!', last_updated_at = now() where id = ${id + 1};
      alter table ${name} rename to observable`);
  };
  await under('another', 3);
  await under('extract', 5);
  await platform.sql.query('alter table observable rename to extract');
  replicator = platform.start(['replicate']);
  await platform.expectEqual();
  // Not shown in this session by another name before it is truncated.
  await replicator.stop();
  await platform.sql.query(
    'alter table extract rename to other; truncate other; alter table other rename to extract',
  );
  replicator = platform.start(['replicate']);
  await platform.expectEqual();
});

it('a table that has the name of another for a while is not taken for it', async () => {
  await platform.sql
    .query(`create table other (like extract including all); alter table other replica identity full;
    alter publication ${platform.name} add table other`);
  await replicator.stop();
  await platform.sql.query(`
    alter table extract rename to away; alter table other rename to extract;
    insert into extract values (7, 'ipv4', '10.0.0.7', '{}', now(), now());
    alter table extract rename to other; alter table away rename to extract`);
  replicator = platform.start(['replicate']);
  await platform.expectEqual();
});

describe('all rows of the table are published again, and the graph is equal, when', () => {
  const COLUMN = 'a column was replaced, retyped or rewritten: all rows of its table are published again';

  /** Found by a session that begins, which then publishes all rows of the table. */
  async function publishedAgain(table: string, columns: readonly string[]): Promise<void> {
    const messages = () => replicator.logs.map(({ msg }) => msg);
    await eventually('all rows are in the stream again', () => {
      const from = messages().lastIndexOf(COLUMN);
      const done = messages().lastIndexOf('initial load: every row is in the stream');
      return Promise.resolve(from !== -1 && done > from);
    });
    const found = replicator.logs.filter(({ msg }) => msg === COLUMN);
    expect(found.map(({ level, table, column }) => ({ level, table, column }))).toEqual(
      columns.map((column) => ({ level: 40, table: `public.${table}`, column })),
    );
    await platform.expectEqual();
  }

  async function loadedAgain(
    table: string,
    columns: readonly string[],
    ddl: string,
    write: string,
  ): Promise<void> {
    await platform.sql.query(ddl);
    await platform.sql.query(write);
    // Whoever waits for the graph waits for that, too, though the publisher has not noticed yet.
    await platform.expectEqual();
    await publishedAgain(table, columns);
    // What was found is recorded: the next session has nothing to do.
    await replicator.stop();
    replicator = platform.start(['replicate']);
    await platform.expectEqual();
    expect(replicator.logs.map(({ msg }) => msg)).not.toContain(COLUMN);
  }

  type Rewrite = [string, string, readonly string[], string, string];
  it.each<Rewrite>([
    [
      'a column is dropped and made anew',
      'entity',
      ['meta'],
      `alter table entity drop column meta; alter table entity add column meta jsonb not null default '{"made": "anew"}'`,
      ENTITY,
    ],
    [
      'a column is rewritten as the type that it has, and nothing is written',
      'extract',
      ['value'],
      `alter table extract alter column value type text using value || '!'`,
      'select',
    ],
  ])('%s', (_, table, columns, ddl, write) => loadedAgain(table, columns, ddl, write));

  it.runIf(soak).each<Rewrite>([
    [
      'two columns take the name of each other',
      'extract',
      ['kind', 'value'],
      'alter table extract rename column kind to was; alter table extract rename column value to kind; alter table extract rename column was to value',
      EXTRACT,
    ],
    [
      'a text becomes a date',
      'extract',
      ['value'],
      `alter table extract alter column value type date using '2026-01-01'`,
      EXTRACT.replace('10.0.0.2', '2026-01-02'),
    ],
  ])('in a soak test alone: %s', (_, table, columns, ddl, write) => loadedAgain(table, columns, ddl, write));

  it('timestamps lose their fractions while nobody looks, even if older rows are left out', async () => {
    await replicator.stop();
    await platform.sql.query(`
      update extract set last_updated_at = '2026-01-01 00:00:00.7Z';
      alter table extract alter column last_updated_at type timestamptz(0)`);
    replicator = platform.start(['replicate', '--no-initial-load']);
    await publishedAgain('extract', ['last_updated_at']);
  });
});

it('a key that is rewritten is a gap: rows had other keys', async () => {
  await platform.sql.query('alter table extract alter column id type bigint using id + 100');
  expect(await replicator.exited).toBe(1);
  expect(replicator.stderr()).toMatch(
    /public\.extract\.id: a key that was replaced, retyped or rewritten.*graph recover/,
  );
  expect((await platform.run(['publish'])).stderr).toMatch(/public\.extract\.id: a key/);
});

it.each<[string, string]>([
  ['is dropped', 'drop table relation'],
  ['gets child tables', 'create table child () inherits (relation)'],
])('a table that %s is a gap, found though nothing is written', async (_, ddl) => {
  await platform.sql.query(ddl);
  await expectStopped(replicator, /public\.relation: not published as was recorded/);
  await platform.sql.query('drop table if exists child');
  const { stderr } = await platform.run(['publish']);
  expect(stderr).toMatch(/public\.relation: not published as was recorded|public\.relation does not exist/);
});

it('a table that was not mapped for a while is a gap', async () => {
  await replicator.stop();
  const source = join(platform.connectors, 'source.postgres.json');
  const relation = join(platform.connectors, 'entities', 'relation.json');
  const listed = (tables: readonly string[]) => {
    edit(source, (json) => {
      json['tables'] = tables.map((name) => `public.${name}`);
    });
  };
  renameSync(relation, `${relation}.away`);
  listed(['entity', 'extract', 'entity_extract']);
  for (let start = 0; start < 2; start++) {
    const without = platform.start(['publish']);
    await without.logged(/streaming/);
    await without.stop();
  }
  renameSync(`${relation}.away`, relation);
  listed(['entity', 'relation', 'extract', 'entity_extract']);
  await expectStopped(platform.start(['publish']), /public\.relation: was not mapped for a while/);
});

describe('the graph stays equal when', () => {
  it.each<[string, string]>([
    [
      'a mapped column becomes a wider one of its kind',
      'alter table extract alter column kind type varchar(80)',
    ],
    ['a column that is not mapped goes', 'alter table relation drop column data'],
    [
      'a column is added before others are dropped, so that the places of all move',
      'alter table relation drop column source_type; alter table relation add column source_type text default $$x$$',
    ],
    [
      'the primary key is another index of the same column',
      'alter table entity drop constraint entity_pkey; alter table entity add primary key (id)',
    ],
    [
      'the primary key is another one, and the key stays unique',
      `alter table extract drop constraint extract_pkey; create unique index on extract (id);
       alter table extract add primary key (kind, value)`,
    ],
    [
      'a table is written anew, and a column described anew, each for itself',
      'vacuum full extract; alter table entity alter column data set statistics 10',
    ],
  ])('%s', async (_, ddl) => {
    for (const statement of ddl.split(';')) await platform.sql.query(statement);
    await platform.sql.query(`
      ${ENTITY};
      ${EXTRACT};
      insert into entity_extract select id, 2, 'observed', now(), now() from entity;
      update extract set value = '10.0.0.3', last_updated_at = now() where id = 1;
      update relation set key = 'changed', last_updated_at = now();
      delete from relation where ctid = (select min(ctid) from relation)`);
    await platform.expectEqual();
    await replicator.stop();
  });
});
