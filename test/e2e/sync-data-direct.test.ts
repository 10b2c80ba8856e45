/** `graph sync-data --direct`: proof and repair with PostgreSQL and Neo4j alone. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadMapping } from '../../src/config/connectors.ts';
import { tableByName } from '../../src/core/mapping.ts';
import { connectNeo4j } from '../../src/neo4j/client.ts';
import { createDirectWriter } from '../../src/neo4j/direct-writer.ts';
import { readProgress } from '../../src/neo4j/progress.ts';
import { directly } from '../../src/pipelines/reconcile/direct.ts';
import { stillness } from '../../src/pipelines/reconcile/stillness.ts';
import { openDatabase } from '../../src/postgres/client.ts';
import { createRowReader } from '../../src/postgres/rows.ts';
import { createLog } from '../../src/runtime/log.ts';
import { hashNeo4j } from '../support/canonical-neo4j.ts';
import { hashPostgres } from '../support/canonical-postgres.ts';
import { compareHashes } from '../support/compare.ts';
import { createPlatform, eventually, type Platform, type Process, underLoad } from '../support/platform.ts';
import { reachedBy } from '../support/rebuilds.ts';
import { createProxy } from '../support/tcp-proxy.ts';

const ENTITIES = 24;
const ALONE = { KAFKA_BROKERS: '', LOG_LEVEL: 'warn' };
const REFUSED = "The stream is running: the graph's progress has moved. Leave --direct out.\n";
const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'reports-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

let files = 0;
const nextResults = () => join(folder, `report-${files++}.json`);
const command = (results: string, args: readonly string[]) => [
  'sync-data',
  '--direct',
  '--check-results-file',
  results,
  ...args,
];

async function syncData(platform: Platform, args: readonly string[], env = ALONE) {
  const results = nextResults();
  const { code, stdout, stderr: said } = await platform.run(command(results, args), env);
  // Which a slow machine gets to see.
  const stderr = said.replaceAll(/^\{"event":"progress".*\n/gm, '');
  const events = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { event: string }).event);
  const report = existsSync(results)
    ? (JSON.parse(readFileSync(results, 'utf8')) as Record<string, unknown>)
    : null;
  return { code, events, stderr, report };
}

/** Entity n, with a relation to the next one and a link. */
async function insertEntity({ sql }: Platform, n: number, next: number): Promise<void> {
  await sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at)
     values ($1, $2, '{"title": "as it was"}', now(), now())`,
    [idOf(n), n % 2 === 0 ? 'indicator' : 'ttp'],
  );
  await sql.query(
    `insert into relation (id, key, source_id, source_type, target_id, target_type, created_at, last_updated_at)
     values ($1, 'uses', $2, 'ttp', $3, 'ttp', now(), now())`,
    [idOf(1000 + n), idOf(n), idOf(next)],
  );
  await sql.query(
    `insert into entity_extract (entity_id, extract_id, link_type, created_at, last_updated_at)
     values ($1, $2, $3, now(), now())`,
    [idOf(n), n % 4, ['observed', 'sighted', 'novel'][n % 3]],
  );
}

async function insertAll(platform: Platform): Promise<void> {
  await platform.sql.query(
    `insert into extract (id, kind, value, created_at, last_updated_at)
     select n, 'domain', n || '.example.com', now(), now() from generate_series(0, 3) n`,
  );
  for (let n = 0; n < ENTITIES; n++) await insertEntity(platform, n, (n + 1) % ENTITIES);
}

async function hashes({ sql, driver, names, env }: Platform) {
  return [await hashPostgres(sql, 'public'), await hashNeo4j(driver, names, env['NEO4J_DATABASE'])] as const;
}

/** Of entities, by number: undefined if there is no position. */
async function positions({ cypher, names }: Platform): Promise<ReadonlyMap<number, string>> {
  const rows = await cypher(`MATCH (n:${names.labels.entity}) RETURN n.id AS id, n._position AS position`);
  return new Map(
    rows.map(({ id, position }) => [Number(String(id).slice(-12)), (position ?? undefined) as string]),
  );
}

describe('a graph that was replicated', () => {
  let platform: Platform;
  let replicator: Process;
  let replicated: ReadonlyMap<number, string>;
  beforeAll(async () => {
    platform = await createPlatform('direct');
    replicator = platform.start(['replicate']);
    await replicator.logged(/streaming/);
    await insertAll(platform);
    await platform.expectEqual();
    await replicator.stop();
    replicated = await positions(platform);
    await change();
  });
  afterAll(() => platform.dispose());

  const node = (n: number, what: string) =>
    platform.cypher(`MATCH (n:${platform.names.labels.entity} {id: $id}) ${what}`, { id: idOf(n) });

  /** By hand in the graph, and in PostgreSQL while nothing runs. */
  async function change(): Promise<void> {
    const { cypher, sql, names } = platform;
    await node(1, 'DETACH DELETE n');
    await node(2, 'SET n.last_updated_at = n.last_updated_at - 1');
    await node(2, `MATCH (n)-[r]->() SET r.key = 'edited', r.last_updated_at = 0`);
    await node(3, 'SET n.last_updated_at = n.last_updated_at + 1');
    await node(5, 'SET n.last_updated_at = toString(n.last_updated_at)');
    await cypher(
      `MATCH (n:${names.labels.entity} {id: $of}) CREATE (:${names.labels.entity} {id: $id, last_updated_at: 1}),
         (:${names.labels.entity} {id: 'Foreign', last_updated_at: 1})-[:${names.types.related} {id: $relation}]->(n)`,
      { id: idOf(900), of: idOf(6), relation: idOf(901) },
    );
    await sql.query(`update entity set data = '{"title": "new"}', last_updated_at = now() where id = $1`, [
      idOf(10),
    ]);
    await insertEntity(platform, ENTITIES, 0);
    await sql.query(`delete from entity where id = any($1::uuid[])`, [[idOf(13), idOf(15)]]);
    // The relation of 12 to 13 stays, and dangles.
    await sql.query('delete from relation where source_id = any($1::uuid[]) or target_id = $2', [
      [idOf(13), idOf(15)],
      idOf(15),
    ]);
    await sql.query('delete from entity_extract where entity_id = any($1::uuid[])', [[idOf(13), idOf(15)]]);
  }

  it('a dry run reports the five classes, and changes nothing', async () => {
    const { code, events, stderr, report } = await syncData(platform, ['--dry-run', '--batch-size', '7']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(report).toEqual({
      entity_ids_to_delete: [13, 15, 900].map(idOf).concat('Foreign'),
      entity_ids_to_reindex: [1, 2, 3, 5, 10, ENTITIES].map(idOf),
      n_missing: 2,
      n_not_deleted: 4,
      n_ok: ENTITIES + 1 - 2 - 6,
      n_outdated: 3,
      n_strange: 1,
    });
    expect(events).toEqual(['Starting data check', 'Data check finished', 'Writing check_results file']);
    expect(await node(2, 'MATCH (n)-[r]->() WHERE r.key IS NOT NULL RETURN DISTINCT r.key AS key')).toEqual([
      { key: 'edited' },
    ]);
  });

  it('a key that moves between the reading and the write is not written, and nothing once progress has moved', async () => {
    const { env, cypher, names, connectors, name } = platform;
    const mapping = loadMapping(connectors);
    const entities = tableByName(mapping, 'public.entity');
    if (entities === undefined) throw new Error('the entities are mapped');
    const sql = openDatabase(env['DATABASE_URL'] ?? '');
    const graph = connectNeo4j(
      {
        uri: env['NEO4J_URI'] ?? '',
        username: env['NEO4J_USERNAME'] ?? '',
        password: env['NEO4J_PASSWORD'] ?? '',
        database: env['NEO4J_DATABASE'] ?? '',
      },
      createLog('fatal', 'test'),
    );
    const { signal } = new AbortController();
    try {
      const still = await stillness(() => readProgress(graph, mapping));
      const rows = createRowReader(sql);
      const mend = (meanwhile: () => Promise<unknown>) =>
        directly({
          rows: {
            async keys(...of) {
              const found = await rows.keys(...of);
              await meanwhile();
              return found;
            },
          },
          writer: createDirectWriter(graph, mapping),
          requireStill: still.require,
          ask: null,
          onRefused: () => expect.unreachable('a row was refused'),
        })(entities, [[idOf(7)], [idOf(8)], [idOf(9)], [idOf(99)]], signal);
      const look = () =>
        cypher(
          `UNWIND $ids AS id OPTIONAL MATCH (n:${names.labels.entity} {id: id}) RETURN n.title AS title ORDER BY id`,
          { ids: [7, 8, 9, 99].map(idOf) },
        ).then((found) => found.map(({ title }) => title));

      for (const n of [7, 8, 9]) await node(n, `SET n.title = 'edited'`);
      const later = (replicated.get(7) ?? '').replace(/^\d/, '9');
      await mend(async () => {
        await node(7, `SET n.title = 'streamed', n._position = '${later}'`);
        await node(9, 'DETACH DELETE n');
        await cypher(`CREATE (:${names.labels.entity} {id: $id, title: 'streamed', _position: $later})`, {
          id: idOf(99),
          later,
        });
      });
      // 9 was seen at its position, which is not that of what is nowhere.
      expect(await look()).toEqual(['streamed', 'as it was', null, 'streamed']);

      await node(8, `SET n.title = 'edited'`);
      await cypher('MATCH (p:_Progress {namespace: $name}) SET p.owner = p.owner + 1', { name });
      await expect(mend(() => Promise.resolve())).rejects.toMatchObject({ code: 'STREAM_RUNNING' });
      expect(await look()).toEqual(['streamed', 'edited', null, 'streamed']);
      await node(7, `SET n._position = '${replicated.get(7) ?? ''}', n.last_updated_at = 0`);
      await node(8, 'SET n.last_updated_at = 0');
    } finally {
      await graph.close();
      await sql.close();
    }
  });

  it('is repaired, relationships included; positions stay', async () => {
    const { code, events, stderr, report } = await syncData(platform, []);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(report).toMatchObject({ n_missing: 3, n_not_deleted: 5, n_outdated: 5, n_strange: 1 });
    expect(events.slice(3)).toEqual(['Deleting 5 entities that should not be in Neo4J', 'sync-data.done']);
    expect(compareHashes(...(await hashes(platform)))).toEqual([]);
    const now = await positions(platform);
    for (const n of [2, 3, 5, 7, 8, 10]) expect(now.get(n), String(n)).toBe(replicated.get(n));
    // The new one, those that were deleted by hand, and the stub.
    for (const n of [1, 9, ENTITIES, 13]) expect([...now], String(n)).toContainEqual([n, undefined]);
    const buried = await platform.cypher(
      `MATCH (t:_Tombstone {namespace: $name, table: 'public.entity'})
       RETURN toInteger(right(t.id, 12)) AS n, t.position AS position ORDER BY n`,
      { name: platform.name },
    );
    // Nothing is left of 900 and the foreign node.
    expect(buried.filter(({ n }) => n !== 99n)).toEqual(
      [13, 15].map((n) => ({ n: BigInt(n), position: replicated.get(n) })),
    );
  });

  it('has nothing to report then, and converges when the stream is back', async () => {
    const { code, report } = await syncData(platform, ['--dry-run', '--fail-on-drift']);
    expect({ code, report }).toMatchObject({ code: 0, report: { n_ok: ENTITIES - 1 } });

    replicator = platform.start(['replicate']);
    await replicator.logged(/streaming/);
    await platform.expectEqual();
    // Everything that was repaired was asked for as well, so its topics are right.
    const now = await positions(platform);
    for (const n of [1, 2, 3, 5, 10, ENTITIES])
      expect((now.get(n) ?? '') > (replicated.get(n) ?? ''), String(n)).toBe(true);
    await platform.sql.query('delete from entity where id = $1', [idOf(1)]);
    await platform.sql.query(`update entity set last_updated_at = now() where id = $1`, [idOf(ENTITIES)]);
    await platform.expectEqual();
  });

  it('is refused once progress has moved, with no report, though nothing differs', async () => {
    await replicator.stop();
    const { cypher, env, name } = platform;
    const progress = (moved: string) =>
      cypher(`MATCH (p:_Progress {namespace: $name}) SET p.next = p.next ${moved}`, { name });
    const slowly = await createProxy(env['DATABASE_URL'] ?? '');
    slowly.delay(20);
    const results = nextResults();
    const run = platform.start(command(results, ['--dry-run', '--batch-size', '1']), {
      ...ALONE,
      DATABASE_URL: slowly.url,
    });
    try {
      await eventually('the scan has begun', () =>
        Promise.resolve(run.stdout().includes('Starting data check')),
      );
      await progress('+ 1');
      expect(await run.exited).toBe(1);
      expect(run.stderr()).toBe(REFUSED);
      expect(existsSync(results)).toBe(false);
      expect(run.stdout()).not.toContain('finished');
    } finally {
      await progress('- 1');
      await slowly.close();
    }
  });

  it('goes on only from a run since which the stream has not run', async () => {
    const { cypher, name } = platform;
    const touch = async (micros: number) => {
      for (const n of [2, 3]) await node(n, `SET n.last_updated_at = n.last_updated_at + ${micros}`);
    };
    const takeOver = (by: string) =>
      cypher(`MATCH (p:_Progress {namespace: $name}) SET p.owner = '${by}'`, { name });
    await takeOver('one');
    await touch(1);
    const results = nextResults();
    const refused = await platform.run(command(results, ['--max-repairs', '1']), ALONE);
    expect(refused.stderr).toMatch(/2 entities differ/);
    await touch(-1);

    await takeOver('another');
    const resume = () => platform.run(command(results, ['--dry-run', '--resume']), ALONE);
    expect(await resume()).toEqual({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/^--resume: .* is from before the stream ran: .*\n$/) as string,
    });
    await takeOver('one');
    expect(await resume()).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(readFileSync(results, 'utf8'))).toMatchObject({ n_strange: 2 });
  });

  it('is refused while the stream is at work', async () => {
    await platform.start(['replicate']).logged(/streaming/);
    const applied = () => reachedBy(platform, platform);
    await underLoad(platform, async () => {
      const before = await applied();
      await eventually('its projector is at work', async () => (await applied()) > before);
      for (const args of [['--dry-run'], []]) {
        const { code, events, stderr, report } = await syncData(platform, args);
        expect({ code, events, report }).toEqual({ code: 1, events: [], report: null });
        expect(stderr).toBe(REFUSED);
      }
    });
  });

  it('--throttle is none of its options', async () => {
    const { code, stderr } = await syncData(platform, ['--throttle']);
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringMatching(/^--throttle looks at/) as string,
    });
  });
});

describe('a graph that was never replicated', () => {
  let platform: Platform;
  beforeAll(async () => {
    platform = await createPlatform('unborn');
    await insertAll(platform);
  });
  afterAll(() => platform.dispose());

  it('that holds an entity twice is refused before anything is compared, dry run or not', async () => {
    const { cypher, names, sql } = platform;
    const label = names.labels.entity;
    const constraints = () =>
      cypher('SHOW CONSTRAINTS YIELD name, labelsOrTypes WHERE labelsOrTypes = [$label] RETURN name', {
        label,
      });
    for (const { name } of await constraints()) await cypher(`DROP CONSTRAINT \`${String(name)}\``);
    const { rows } = await sql.query<{ micros: string }>(
      `select (extract(epoch from last_updated_at) * 1000000)::bigint as micros from entity where id = $1`,
      [idOf(3)],
    );
    await cypher(`UNWIND [1, 2] AS n CREATE (:${label} {id: $id, last_updated_at: $micros})`, {
      id: idOf(3),
      micros: BigInt(rows[0]?.micros ?? ''),
    });
    for (const args of [['--dry-run'], []]) {
      const { code, events, stderr, report } = await syncData(platform, args);
      expect({ code, events, report }).toEqual({ code: 1, events: [], report: null });
      expect(stderr).toMatch(
        new RegExp(`^The graph holds these more than once: ${label}\\.id ${idOf(3)} \\(2 times\\)\\..*\n$`),
      );
      expect(await constraints()).toEqual([]);
    }
    await cypher(`MATCH (n:${label} {id: $id}) DELETE n`, { id: idOf(3) });
    const looked = await syncData(platform, ['--dry-run']);
    expect(looked).toMatchObject({ code: 0, report: { n_missing: ENTITIES } });
    expect(await constraints()).toEqual([]);
  });

  it('gets all entities, with their relations and links; what it cannot take is told of, and exits 1', async () => {
    const { sql, name } = platform;
    // More than an index of Neo4j takes.
    await sql.query(
      `insert into entity_extract (entity_id, extract_id, link_type, created_at, last_updated_at)
       values ($1, 0, repeat('x', 40000), now(), now())`,
      [idOf(5)],
    );
    const { code, stderr, report } = await syncData(platform, []);
    await sql.query('delete from entity_extract where length(link_type) > 100');
    expect(code, stderr).toBe(1);
    const said = stderr.trim().split('\n');
    expect(said).toHaveLength(3);
    expect(said[2]).toBe('1 rows cannot be written to the graph as they are; the log says why, of each.');
    expect(said[0]).toBe(
      `There is no replication slot ${name}: the graph is repaired, nothing is asked of the stream.`,
    );
    expect(JSON.parse(said[1] ?? '')).toMatchObject({
      table: 'public.entity_extract',
      error: { code: 'NEO4J_REJECTED' },
      msg: 'a row cannot be written to the graph',
    });
    expect(report).toMatchObject({ n_missing: ENTITIES, n_ok: 0 });
    const [source, graph] = await hashes(platform);
    const known = ({ lines }: typeof source) => lines.filter((line) => !line.startsWith('["extract"'));
    expect(graph.problems).toEqual([]);
    expect(known(graph)).toEqual(known(source));
    expect(known(graph)).toHaveLength(3 * ENTITIES);
    expect(await platform.cypher('MATCH (p:_Progress {namespace: $name}) RETURN p', { name })).toEqual([]);
  });

  it('gets everything else with --whole-graph', async () => {
    const { cypher, names } = platform;
    await cypher(`MATCH (n:${names.labels.entity} {id: $id})-[r]->() SET r.last_updated_at = 0`, {
      id: idOf(6),
    });
    await cypher(`MATCH (n:${names.labels.entity} {id: $id}) SET n.title = 'edited'`, { id: idOf(7) });
    await cypher(`CREATE (:${names.labels.extract}:Stub {id: 99})`);
    const { code, stderr, report } = await syncData(platform, ['--whole-graph', '--deep']);
    expect(code, stderr).toBe(0);
    expect(report).toMatchObject({
      entity_ids_different: [idOf(7)],
      n_ok: ENTITIES,
      whole_graph: {
        'public.extract': { n_missing: 4 },
        'public.relation': { n_missing: 0, n_outdated: 1 },
        'public.entity_extract': { n_missing: 0, n_outdated: 1 },
        stubs: { n_idle_stubs: 1 },
      },
    });
    expect(compareHashes(...(await hashes(platform)))).toEqual([]);
    expect(await cypher(`MATCH (n:${names.labels.extract}:Stub) RETURN n`)).toEqual([]);
  });

  it('is one whose first start is still to come', async () => {
    await platform.start(['replicate']).logged(/streaming/);
    await platform.expectEqual();
  });
});
