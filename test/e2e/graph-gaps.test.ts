/**
 * The graph is emptied, or put back to what it was earlier, under a projector at work: the projector finds out by itself,
 * also if nothing is written afterwards that could show it, and brings the graph to where the database is.
 */
import neo4j, { type Integer } from 'neo4j-driver';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { fill } from '../support/fill.ts';
import {
  createPlatform,
  eventually,
  FOUND_MS,
  type Platform,
  type Process,
  underLoad,
  within,
} from '../support/platform.ts';

let platform: Platform;
let replicator: Process;

beforeEach(async () => {
  platform = await createPlatform('lost');
  await fill(platform.sql, { seed: 3, entities: 200 });
  replicator = platform.start(['replicate']);
  await replicator.logged(/partitions assigned/);
  await platform.expectEqual();
});
afterEach(() => platform.dispose());

const ours = () => ({ labels: Object.values(platform.names.labels), name: platform.name });
const OURS = 'WHERE any(label IN labels(n) WHERE label IN $labels) OR n.namespace = $name';

interface Backup {
  readonly nodes: readonly { labels: string[]; properties: object }[];
  readonly edges: readonly { type: string; from: Integer; to: Integer; properties: object }[];
}

async function backup(): Promise<Backup> {
  const found = await platform.cypher(
    `MATCH (n) ${OURS} RETURN elementId(n) AS id, labels(n) AS labels, properties(n) AS properties`,
    ours(),
  );
  const at = new Map(found.map(({ id }, i) => [id, i]));
  const edges = await platform.cypher(
    `MATCH (n)-[r]->(m) ${OURS}
     RETURN type(r) AS type, elementId(n) AS from, elementId(m) AS to, properties(r) AS properties`,
    ours(),
  );
  const index = (id: unknown) => neo4j.int(at.get(id) ?? -1);
  return {
    nodes: found.map(({ labels, properties }) => ({ labels, properties }) as Backup['nodes'][number]),
    edges: edges.map(({ type, from, to, properties }) => {
      return { type, from: index(from), to: index(to), properties } as Backup['edges'][number];
    }),
  };
}

/** Offsets that the graph has passed, of all partitions. */
function progressIn({ nodes }: Backup): bigint {
  const rows = nodes.filter(({ labels }) => labels.includes('_Progress'));
  return rows.reduce((sum, { properties }) => sum + (properties as { next: bigint }).next, 0n);
}

const empty = () => platform.cypher(`MATCH (n) ${OURS} DETACH DELETE n`, ours());

/** In one transaction, as a server is there again with another store. */
async function restore({ nodes, edges }: Backup): Promise<void> {
  await platform.cypher(
    `CALL () { MATCH (n) ${OURS} DETACH DELETE n }
     CALL () {
       UNWIND $nodes AS node CREATE (n) SET n = node.properties SET n:$(node.labels)
       WITH collect(n) AS made
       UNWIND $edges AS edge
       WITH edge, made[edge.from] AS a, made[edge.to] AS b
       CREATE (a)-[r:$(edge.type)]->(b) SET r = edge.properties
       RETURN count(r) AS edges
     }
     RETURN edges`,
    { ...ours(), nodes, edges },
  );
}

const foundOut = () => within('it finds out', replicator.logged(/lost its session/, 'PROGRESS_LOST'));
const caughtUp = async () => (await platform.run(['wait', '--timeout', '1'])).code === 0;

/** Is it, of each table? */
async function verified(): Promise<boolean[]> {
  const status = JSON.parse((await platform.run(['status', '--json'])).stdout) as {
    tables: { verified: object | null }[];
  };
  return status.tables.map((table) => table.verified !== null);
}

it('emptied', async () => {
  await empty();
  await foundOut();
  await eventually('it begins again', caughtUp, FOUND_MS + 30_000);
  await platform.expectEqual();
  await replicator.stop();
});

it('emptied under load', async () => {
  await underLoad(platform, async () => {
    await empty();
    await foundOut();
    await replicator.logged(/partitions assigned/);
  });
  await platform.expectEqual();
  await replicator.stop();
});

it('put back to an earlier state', async () => {
  const earlier = await backup();
  expect(earlier.edges.length).toBeGreaterThan(100);
  await platform.sql.query(
    `update entity set last_updated_at = now() where id in (select id from entity order by id desc limit 90)`,
  );
  await platform.sql.query('delete from entity where id in (select id from entity order by id limit 30)');
  await platform.expectEqual();
  const report = `${platform.connectors}/report.json`;
  const proof = await platform.run(['sync-data', '--deep', '--whole-graph', '--check-results-file', report]);
  expect(proof.code, proof.stderr).toBe(0);
  expect(await verified()).toEqual([true, true, true, true]);
  const later = await backup();
  expect(progressIn(later)).toBeGreaterThan(progressIn(earlier));
  await restore(earlier);
  await foundOut();
  await eventually('it goes on from there', caughtUp, FOUND_MS + 30_000);
  // What it was then nobody has compared.
  expect(await verified()).toEqual([false, false, false, false]);
  await platform.expectEqual();
  await replicator.stop();
});
