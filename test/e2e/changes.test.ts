import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPlatform, type Platform, type Process } from '../support/platform.ts';

let platform: Platform;
let replicator: Process;

beforeAll(async () => {
  platform = await createPlatform('changes');
  replicator = platform.start(['replicate']);
  await replicator.logged(/streaming/);
});
afterAll(() => platform.dispose());

const uuid = (n: number) => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
const entity = (n: number, type = 'indicator', data: object = { title: `T${n}` }) =>
  platform.sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at) values ($1, $2, $3, now(), now())`,
    [uuid(n), type, JSON.stringify(data)],
  );
const relation = (n: number, from: number, to: number) =>
  platform.sql.query(
    `insert into relation (id, key, source_id, source_type, target_id, target_type, created_at, last_updated_at)
     values ($1, 'uses', $2, 'indicator', $3, 'ttp', now(), now())`,
    [uuid(n), uuid(from), uuid(to)],
  );
const entityNodes = async (n: number) => {
  const { entity } = platform.names.labels;
  return platform.cypher(
    `MATCH (n:${entity} {id: $id}) RETURN labels(n) AS labels, properties(n) AS properties`,
    { id: uuid(n) },
  );
};

describe('the graph follows', () => {
  it('inserts, updates and deletes', async () => {
    await entity(1);
    await entity(2, 'ttp');
    await platform.sql.query(
      `insert into extract values (9223372036854775807, 'ipv4', '10.0.0.1', '{}', 'infinity', '-infinity')`,
    );
    await platform.sql.query(
      `insert into entity_extract values ($1, 9223372036854775807, 'observed', now(), now())`,
      [uuid(1)],
    );
    await relation(100, 1, 2);
    await platform.expectEqual();
    await platform.sql.query(
      `update entity set data = data || '{"title": "changed"}', last_updated_at = now() where id = $1`,
      [uuid(1)],
    );
    await platform.sql.query(`delete from relation where id = $1`, [uuid(100)]);
    await platform.expectEqual();
    const [node] = await entityNodes(1);
    expect(node?.['properties']).toMatchObject({ title: 'changed', type: 'indicator' });
  });

  it('a relation whose ends come later, and one whose ends never come', async () => {
    await relation(110, 10, 11);
    await relation(111, 12, 13);
    await platform.expectEqual();
    expect((await entityNodes(10))[0]?.['labels']).toContain('Stub');
    await entity(10);
    await entity(11);
    await platform.expectEqual();
    expect((await entityNodes(10))[0]?.['labels']).not.toContain('Stub');
    expect((await entityNodes(12))[0]?.['properties']).not.toHaveProperty('type');
    await platform.sql.query(`delete from relation where id = $1`, [uuid(111)]);
    await platform.expectEqual();
    expect(await entityNodes(12)).toEqual([]);
  });

  it('a delete with remaining relations, and the row that comes back', async () => {
    await entity(20);
    await entity(21);
    await relation(120, 20, 21);
    await platform.expectEqual();
    await platform.sql.query(`delete from entity where id = $1`, [uuid(20)]);
    await platform.expectEqual();
    expect((await entityNodes(20))[0]?.['labels']).toContain('Stub');
    await entity(20, 'campaign');
    await platform.expectEqual();
    expect((await entityNodes(20))[0]?.['labels']).toEqual(
      expect.arrayContaining([platform.names.labels.entity, 'Campaign']),
    );
  });

  it('changes of type, of ends and of keys', async () => {
    await entity(30, 'indicator');
    await entity(31);
    await entity(32);
    await relation(130, 30, 31);
    await platform.expectEqual();
    await platform.sql.query(`update entity set type = 'report' where id = $1`, [uuid(30)]);
    await platform.sql.query(`update relation set target_id = $2 where id = $1`, [uuid(130), uuid(32)]);
    await platform.sql.query(`update entity set id = $2 where id = $1`, [uuid(31), uuid(33)]);
    await platform.expectEqual();
    expect((await entityNodes(30))[0]?.['labels']).not.toContain('Indicator');
    expect(await entityNodes(31)).toEqual([]);
  });

  it('a transaction of 10,000 rows, and one that deletes and creates the same key', async () => {
    await platform.sql.query(
      `insert into entity select gen_random_uuid(), 'ttp', jsonb_build_object('title', 'bulk ' || i), '{}', now(), now()
         from generate_series(1, 10000) i`,
    );
    const client = await platform.sql.connect();
    await client.query('begin');
    await client.query(`delete from entity where id = $1`, [uuid(1)]);
    await client.query(
      `insert into entity (id, type, data, created_at, last_updated_at) values ($1, 'package', '{}', now(), now())`,
      [uuid(1)],
    );
    await client.query('commit');
    client.release();
    await platform.expectEqual();
  });

  it('an unlisted link type and an unlisted entity type, and warns once of each', async () => {
    await entity(40, 'weather');
    await entity(41, 'weather');
    await platform.sql.query(
      `insert into entity_extract values ($1, 9223372036854775807, 'rumoured', now(), now())`,
      [uuid(40)],
    );
    await platform.expectEqual();
    const [link] = await platform.cypher(
      `MATCH ()-[r:${platform.names.types.linked}]->() RETURN r.link_type AS type`,
    );
    expect(link).toEqual({ type: 'rumoured' });
    const warned = replicator.logs.filter((line) => /does not list/.test(String(line['msg'])));
    expect(warned.map((line) => line['column']).sort()).toEqual(['link_type', 'type']);
  });

  it('a column added while it streams', async () => {
    await platform.sql.query(`alter table entity add column note text default 'none'`);
    await entity(50);
    await platform.sql.query(`update entity set note = 'x' where id = $1`, [uuid(50)]);
    await platform.expectEqual();
  });

  it('a truncate, and what is written after it', async () => {
    await platform.sql.query('truncate relation');
    await relation(160, 50, 60);
    await platform.expectEqual();
    await platform.sql.query('truncate entity, entity_extract');
    await entity(60);
    await platform.expectEqual();
  });

  it('to the end without a failure, and stops in good order', async () => {
    await replicator.stop();
    expect(replicator.logs.filter((line) => Number(line['level']) >= 50)).toEqual([]);
  });
});
