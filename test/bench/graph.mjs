/** From Kafka to Neo4j, beside loaders that only merge what came of it. */
import { performance } from 'node:perf_hooks';
import { cpuSeconds, createPlatform, spent, topicEnds, until } from './platform.mjs';
import { insertRelations, insertRows } from './rows.mjs';

const BARE_BATCH = 2000;
const BARE_SESSIONS = 2;

const NODES = {
  what: 'nodes',
  insert: (sql, rows) => insertRows(sql, rows, 100),
  read: (graph) => `MATCH (n:Entity_${graph}) RETURN properties(n) AS row`,
  constraints: (graph) => [`CREATE CONSTRAINT FOR (n:Entity_${graph}) REQUIRE n.id IS UNIQUE`],
  merge: (graph) => `UNWIND $rows AS row MERGE (n:Entity_${graph} {id: row.id}) SET n = row, n:Report`,
  count: (graph) => `MATCH (n:Entity_${graph}) WHERE n.type IS NOT NULL RETURN count(n) AS n`,
};

const ENDS = 20_000;
const RELATIONSHIPS = {
  what: 'relationships',
  insert: (sql, rows) => insertRelations(sql, rows, ENDS),
  read: (graph) =>
    `MATCH (a)-[r:RELATED_${graph}]->(b) RETURN {from: a.id, to: b.id, properties: properties(r)} AS row`,
  constraints: (graph) => [
    `CREATE CONSTRAINT FOR (n:Entity_${graph}) REQUIRE n.id IS UNIQUE`,
    `CREATE CONSTRAINT FOR ()-[r:RELATED_${graph}]-() REQUIRE r.id IS UNIQUE`,
  ],
  merge: (
    graph,
  ) => `UNWIND $rows AS row MERGE (a:Entity_${graph} {id: row.from}) MERGE (b:Entity_${graph} {id: row.to})
    MERGE (a)-[r:RELATED_${graph} {id: row.properties.id}]->(b) SET r = row.properties`,
  count: (graph) => `MATCH ()-[r:RELATED_${graph}]->() RETURN count(r) AS n`,
};

export const project = async (bench) => [
  ...(await projected(bench, NODES, bench.rows(200_000))),
  ...(await projected(bench, RELATIONSHIPS, bench.rows(100_000))),
];

/** The same topics into a new graph each time; then the rows of that graph, in batches made beforehand, by a bare loader. */
async function projected(bench, kind, rows) {
  const { what } = kind;
  const platform = await createPlatform(bench, `bench_${what}`);
  const publisher = await platform.start('publish', platform.connectors(`fill_${what}`), 'streaming');
  await platform.published(await kind.insert(platform.sql, rows));
  await publisher.stop();
  let batches;
  let runs = 0;

  async function projector() {
    const graph = `${what}${(runs += 1)}`;
    const projecting = await platform.start('project', platform.connectors(graph), 'partitions assigned');
    const before = cpuSeconds(bench.stack, projecting.pid);
    const end = await topicEnds(bench, graph);
    const next = 'MATCH (p:_Progress {namespace: $graph}) RETURN sum(p.next) AS next';
    const finished = await until(async () => Number((await bench.cypher(next, { graph }))[0].next) >= end);
    const cpu = spent(before, cpuSeconds(bench.stack, projecting.pid));
    await projecting.stop();
    await expectCount(graph);
    batches ??= batchesOf(await bench.cypher(kind.read(graph)));
    await removeNodes(bench, graph);
    return { count: rows, seconds: (finished - projecting.startedAt) / 1000, cpu };
  }

  async function bare() {
    const graph = `bare_${what}${runs}`;
    for (const constraint of kind.constraints(graph)) await bench.cypher(constraint);
    const left = [...batches];
    const load = async () => {
      const session = bench.driver.session();
      for (let batch = left.shift(); batch !== undefined; batch = left.shift())
        await session.executeWrite((open) => open.run(kind.merge(graph), { rows: batch }));
      await session.close();
    };
    const before = cpuSeconds(bench.stack, process.pid);
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: BARE_SESSIONS }, load));
    const seconds = (performance.now() - startedAt) / 1000;
    const cpu = spent(before, cpuSeconds(bench.stack, process.pid));
    await expectCount(graph);
    await removeNodes(bench, graph);
    return { count: rows, seconds, cpu };
  }

  async function expectCount(graph) {
    const [{ n }] = await bench.cypher(kind.count(graph));
    if (Number(n) !== rows) throw new Error(`${graph}: ${n} ${what} instead of ${rows}`);
  }

  const name = `project ${what}`;
  return [
    { name, unit: `${what}/s`, run: projector },
    { name: `bare loader of ${what}`, unit: `${what}/s`, run: bare, comparedWith: name },
  ];
}

function batchesOf(found) {
  const batches = [];
  for (let i = 0; i < found.length; i += BARE_BATCH)
    batches.push(found.slice(i, i + BARE_BATCH).map(({ row }) => row));
  return batches;
}

/** So that every run finds a graph of the same size. */
async function removeNodes({ driver }, graph) {
  const session = driver.session();
  await session.run(`MATCH (n:Entity_${graph}) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS`);
  await session.close();
}
