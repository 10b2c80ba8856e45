/** `graph replay` (I7, I8): over the live graph, under load, killed, twice at once, and as a rehearsal. */
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadMapping } from '../../src/config/connectors.ts';
import { createKafka } from '../../src/kafka/client.ts';
import { readLatest } from '../../src/kafka/read-topic.ts';
import { connectNeo4j } from '../../src/neo4j/client.ts';
import { purgeTombstones } from '../../src/neo4j/purge.ts';
import { fill } from '../support/fill.ts';
import { silent } from '../support/kafka.ts';
import {
  createPlatform,
  edit,
  eventually,
  type Platform,
  type Process,
  underLoad,
} from '../support/platform.ts';
import { createKafkaProxy } from '../support/kafka-proxy.ts';
import { soak } from '../support/soak.ts';
import { graphAsItIs, named, replayReport } from '../support/replay.ts';
import { createProxy, type Proxy } from '../support/tcp-proxy.ts';

const ENTITIES = 200;
const DAMAGED = 100;

let platform: Platform;

/** Small batches: what a key was and that it was deleted are applied one after the other, and there is a middle to be killed in. */
let slowly: Readonly<Record<string, string>>;

function cypher(query: string, parameters: object = {}): Promise<Record<string, unknown>[]> {
  return platform.cypher(named(platform, query), { name: platform.name, ...parameters });
}

async function ids(query: string): Promise<string[]> {
  return (await platform.sql.query<{ id: string }>(query)).rows.map(({ id }) => id);
}

interface Deleted {
  readonly entities: readonly string[];
  readonly relations: readonly string[];
}

async function deleteSome(): Promise<Deleted> {
  const entities = await ids(
    `delete from entity where id in (select id from entity order by random() limit 60) returning id`,
  );
  const relations = await ids(
    `delete from relation where id in (select id from relation order by random() limit 60) returning id`,
  );
  return { entities, relations };
}

/** What a projector with a bug may have left: at the right positions, with the wrong content, or not at all. */
async function damage(): Promise<void> {
  const damages = [
    `MATCH (n:$Entity) WHERE NOT n:Stub WITH n ORDER BY n.id LIMIT ${DAMAGED} SET n.title = 'damaged', n.wrong = 1`,
    `MATCH (n:$Entity:Indicator) WITH n ORDER BY n.id LIMIT 10 REMOVE n:Indicator SET n:Ttp`,
    `MATCH ()-[r:$RELATED]->() WITH r ORDER BY r.id LIMIT ${DAMAGED} SET r.key = 'damaged'`,
    `MATCH (n:$Extract) WHERE NOT n:Stub WITH n ORDER BY n.id LIMIT 20 DETACH DELETE n`,
    `MATCH ()-[r:$OBSERVED]->() WITH r LIMIT 20 DELETE r`,
  ];
  for (const query of damages) await cypher(query);
}

/** Of entities, by id: each stands where its last record does. */
async function positionsInGraph(): Promise<Record<string, unknown>> {
  const nodes = await cypher('MATCH (n:$Entity) WHERE NOT n:Stub RETURN n.id AS id, n._position AS position');
  return Object.fromEntries(nodes.map(({ id, position }) => [String(id), position]));
}

async function positionsInTopic(): Promise<Record<string, unknown>> {
  const client = createKafka({ brokers: [platform.env['KAFKA_BROKERS'] ?? ''], clientId: 'test' }, silent);
  const topic = `${platform.name}.public.entity`;
  const latest = await readLatest(client, topic, AbortSignal.timeout(20_000), String);
  const rows = [...latest.values()].map(
    (value) => JSON.parse(value) as { op: string; after: { id: string }; source: { position: string } },
  );
  return Object.fromEntries(
    rows.filter(({ op }) => op !== 'd').map(({ after, source }) => [after.id, source.position]),
  );
}

interface Passed {
  readonly passed: number;
  readonly of: number;
}

/** Of an unfinished replay. */
async function middle(): Promise<Passed> {
  const [row] = await cypher(
    `MATCH (p:_Progress {namespace: $name, scope: 'replay'})
     RETURN sum(p.next - p.start) AS passed, sum(p.end - p.start) AS of`,
  );
  return { passed: Number(row?.['passed']), of: Number(row?.['of']) };
}

async function stopWhen(replay: Process, share: number, signal: NodeJS.Signals): Promise<void> {
  await eventually(`${share} of the replay`, async () => {
    const { passed, of } = await middle();
    return of > 0 && passed > share * of;
  });
  expect(replay.child.exitCode, replay.stderr().slice(-2000)).toBeNull();
  replay.child.kill(signal);
}

const finished = async (replay: Process) => {
  expect(await replay.exited, replay.stderr().slice(-3000)).toBe(0);
  expect(await middle()).toEqual({ passed: 0, of: 0 });
};

describe('a damaged graph under live load', () => {
  let deleted: Deleted[];

  beforeAll(async () => {
    platform = await createPlatform('replay');
    const small = `${platform.connectors}-small`;
    cpSync(platform.connectors, small, { recursive: true });
    edit(join(small, 'sink.neo4j.json'), (json) => {
      Object.assign(json, { batch: { maxRecords: 10 } });
    });
    slowly = { CONNECTORS_DIR: small };
    const replicator = platform.start(['replicate']);
    await replicator.logged(/streaming/);
    await fill(platform.sql, { seed: 7, entities: ENTITIES });
    await platform.sql.query(
      `update entity set last_updated_at = now() where type in ('indicator', 'report')`,
    );
    await platform.expectEqual(120);
    const purged = await deleteSome();
    await platform.expectEqual(120);
    const mapping = loadMapping(platform.connectors);
    const graph = connectNeo4j(
      {
        uri: platform.env['NEO4J_URI'] ?? '',
        username: platform.env['NEO4J_USERNAME'] ?? '',
        password: platform.env['NEO4J_PASSWORD'] ?? '',
        database: platform.env['NEO4J_DATABASE'] ?? '',
      },
      silent,
    );
    const at = { ...mapping, sink: { ...mapping.sink, tombstoneRetentionMs: -60_000 } };
    expect(await purgeTombstones(graph, at, new AbortController().signal)).toBeGreaterThanOrEqual(120);
    await graph.close();
    deleted = [purged, await deleteSome()];
    await platform.expectEqual(120);
  });
  afterAll(async () => {
    await platform.dispose();
    rmSync(slowly['CONNECTORS_DIR'] ?? '', { recursive: true });
  });

  /** Counts how often something deleted was seen, as often as the graph answers. */
  async function seenDuring(replay: Promise<unknown>): Promise<{ polls: number; seen: number }> {
    const entities = deleted.flatMap((one) => one.entities);
    const relations = deleted.flatMap((one) => one.relations);
    let [polls, seen, over] = [0, 0, false];
    const watched = replay.finally(() => (over = true));
    while (!over) {
      const [found] = await cypher(
        `MATCH (n:$Entity) WHERE n.id IN $entities AND NOT n:Stub WITH count(n) AS nodes
         OPTIONAL MATCH ()-[r:$RELATED]->() WHERE r.id IN $relations RETURN nodes, count(r) AS relations`,
        { entities, relations },
      );
      polls++;
      seen += Number(found?.['nodes']) + Number(found?.['relations']);
      await delay(5); // so that the replay has some of the time
    }
    await watched;
    return { polls, seen };
  }

  it('is right again, and nothing deleted is seen at any moment', async () => {
    await damage();
    await expect(platform.expectEqual()).rejects.toThrow();
    await underLoad(platform, async () => {
      const replay = platform.start(['replay'], slowly);
      const { polls, seen } = await seenDuring(replay.exited);
      await finished(replay);
      expect(polls).toBeGreaterThan(20);
      expect(seen).toBe(0);
      const counts = replayReport(replay.stdout());
      expect(Object.keys(counts).sort()).toEqual([
        'public.entity',
        'public.entity_extract',
        'public.extract',
        'public.relation',
      ]);
      // The purged tombstones' rows, and what the damage took that is older than they are.
      expect(counts['public.entity']?.['asked for again']).toBeGreaterThanOrEqual(60);
      expect(counts['public.entity']?.['are older']).toBeGreaterThanOrEqual(60);
    });
    await platform.expectEqual(120);
  });

  it('killed again and again: goes on where it was, to the same ends, and is right', async () => {
    await damage();
    await underLoad(platform, async () => {
      const ends = new Set<number>();
      let before = 0;
      for (const share of soak ? [0.15, 0.3, 0.45, 0.6, 0.75] : [0.35, 0.75]) {
        const replay = platform.start(
          ['replay', '--topics', 'entity,relation,extract,entity_extract'],
          slowly,
        );
        await replay.logged(/replaying/);
        const resumed = await middle();
        expect(resumed.passed).toBeGreaterThanOrEqual(before);
        await stopWhen(replay, share, 'SIGKILL');
        expect(await replay.exited).toBe('SIGKILL');
        const left = await middle();
        const status = await platform.run(['status']);
        expect(status.stdout).toContain(`a replay is not finished: ${left.of - left.passed} records left`);
        before = left.passed;
        ends.add(left.of);
      }
      expect(ends.size).toBe(1);
      const last = platform.start(['replay'], slowly);
      expect((await last.logged(/replaying/))['resumed']).toBe(true);
      await finished(last);
      const records = Object.values(replayReport(last.stdout())).reduce(
        (sum, one) => sum + (one['records'] ?? 0),
        0,
      );
      const [end] = ends;
      expect(records).toBeLessThan((end ?? 0) * 0.3);
    });
    await platform.expectEqual(120);
  });

  it('goes on where it was after Neo4j was away, and then Kafka, and counts each record once', async () => {
    await damage();
    const neo4j = await createProxy(platform.env['NEO4J_URI'] ?? '');
    const kafka = await createKafkaProxy(platform.env['KAFKA_BROKERS'] ?? '');
    const replay = platform.start(['replay'], {
      ...slowly,
      NEO4J_URI: neo4j.url,
      KAFKA_BROKERS: kafka.brokers,
    });
    async function away(proxy: Proxy, back: string, from: number, noticed: RegExp): Promise<void> {
      await eventually(`${from} of the replay`, async () => {
        const { passed, of } = await middle();
        return of > 0 && passed > from * of;
      });
      proxy.leadTo('tcp://127.0.0.1:1');
      proxy.reset();
      await replay.logged(noticed);
      proxy.leadTo(back);
    }
    await away(neo4j, platform.env['NEO4J_URI'] ?? '', 0.05, /did not take a batch yet/);
    const { of } = await middle();
    await away(kafka, `kafka://${platform.env['KAFKA_BROKERS'] ?? ''}`, 0.15, /lost its session/);
    await finished(replay);
    const counts = Object.values(replayReport(replay.stdout()));
    expect(counts.reduce((sum, { records = 0 }) => sum + records, 0)).toBe(of);
    await neo4j.close();
    await kafka.close();
    await platform.expectEqual(120);
  });

  it('goes on if progress is further than it knows, as after a commit whose answer was lost', async () => {
    const replay = platform.start(['replay'], slowly);
    await eventually('some of the replay', async () => (await middle()).passed > 0);
    await platform.cypher(
      `MATCH (p:_Progress {namespace: $name, scope: 'replay'}) WHERE p.start < p.next
       REMOVE p._lock
       WITH p WHERE p[$now.next] < p.end
       SET p.next = p[$now.next] + 1`,
      { name: platform.name, now: { next: 'next' } },
    );
    await replay.logged(/lost its session/, 'PROGRESS_LOST');
    await finished(replay);
  });

  // Waits for what a paused process holds.
  it.runIf(soak)(
    'in a soak test alone: a second one is refused, as is a repair without the stream; an unfinished one is finished or given up',
    async () => {
      await damage();
      const first = platform.start(['replay'], slowly);
      await stopWhen(first, 0.2, 'SIGSTOP');
      const second = await platform.run(['replay'], { LOG_LEVEL: 'silent' });
      expect(second).toMatchObject({ code: 1, stdout: '' });
      expect(second.stderr).toMatch(/^Another run is at work: graph replay of process \d+.*\n$/);
      const results = join(platform.connectors, 'report.json');
      const direct = await platform.run(['sync-data', '--direct', '--check-results-file', results]);
      expect(direct.code).toBe(1);
      expect(direct.stderr).toMatch(/Another run is at work: graph replay of process/);

      // Its connection to PostgreSQL lost, and with it its lock, the next one takes it over; it writes nothing when it wakes.
      await platform.sql.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'graph replay of process%'
        and datname = current_database()`,
      );
      const third = platform.start(['replay'], slowly);
      await finished(third);
      first.child.kill('SIGCONT');
      expect(await first.exited).toBe(1);
      expect(first.stderr()).toMatch(
        /Another replay has taken this one over|keeps other runs .* out is lost/,
      );
      await platform.expectEqual(120);

      await damage();
      const killed = platform.start(['replay'], slowly);
      await stopWhen(killed, 0.2, 'SIGTERM');
      expect(await killed.exited).toBe(143);
      expect((await platform.run(['wait', '--timeout', '20'])).code).toBe(0);
      const other = await platform.run(['replay', '--topics', 'entity'], { LOG_LEVEL: 'silent' });
      expect(other).toMatchObject({ code: 1, stdout: '' });
      expect(other.stderr).toMatch(
        /^A replay of public\.\w+,.* from earliest is not finished.*--restart.*\n$/,
      );
      await finished(platform.start(['replay', '--restart']));
      await platform.expectEqual(120);
    },
  );

  it('a rehearsal counts what was damaged, and changes nothing', async () => {
    expect(await positionsInGraph()).toEqual(await positionsInTopic());
    const quiet = replayReport((await platform.run(['replay', '--dry-run'])).stdout);
    for (const counts of Object.values(quiet))
      expect(counts).toMatchObject({ 'would change something': 0, 'would delete something': 0 });
    const titles = 'MATCH (n:$Entity) WHERE NOT n:Stub RETURN n.id AS id, n.title AS title ORDER BY id';
    const harmed = (await cypher(titles)).filter((_, i) => i % 2 === 0).map(({ id }) => id);
    expect(new Set(harmed).size).toBe(harmed.length);
    expect(harmed.length).toBeGreaterThan(20); // of what the load has left
    await cypher(`UNWIND $harmed AS id MATCH (n:$Entity {id: id}) SET n.title = 'damaged'`, { harmed });
    const [extracts, relations] = await Promise.all([
      cypher(`MATCH (n:$Extract) WHERE NOT n:Stub WITH n LIMIT 30 SET n.stray = true RETURN count(n) AS n`),
      cypher(`MATCH ()-[r:$RELATED]->() WITH r LIMIT 40 REMOVE r.key RETURN count(r) AS n`),
    ]);
    const before = await graphAsItIs(platform);
    const { code, stdout } = await platform.run(['replay', '--dry-run']);
    expect(code).toBe(0);
    expect(await graphAsItIs(platform)).toBe(before);
    const found = await cypher(titles);
    expect(found.filter(({ title }) => title === 'damaged').map(({ id }) => id)).toEqual(harmed);
    const damaged = {
      entity: harmed.length,
      extract: Number(extracts[0]?.['n']),
      relation: Number(relations[0]?.['n']),
      entity_extract: 0,
    };
    expect(Math.min(damaged.extract, damaged.relation)).toBeGreaterThan(0);
    const expected = Object.entries(damaged).map(([table, n]) => [
      `public.${table}`,
      {
        ...quiet[`public.${table}`],
        'would change something': n,
        'are there already': expect.any(Number) as number,
      },
    ]);
    expect(replayReport(stdout)).toEqual(Object.fromEntries(expected));
    await finished(platform.start(['replay'], slowly));
    await platform.expectEqual(120);
  });
});
