/** A graph rebuilt from its topics, beside a loader that only merges the same nodes and relationships. */
import { performance } from 'node:perf_hooks';
import { cpuSeconds, createPlatform, expectNodes, spent, topicEnds, until } from './platform.mjs';
import { insertRelationsAmong, insertRows } from './rows.mjs';

const BARE_BATCH = 2000;
const BARE_SESSIONS = 2;
const NAME = 'rebuild';

export async function rebuild(bench) {
  const nodes = bench.rows(150_000);
  const relationships = nodes / 2;
  const platform = await createPlatform(bench, 'bench_rebuild');
  const connectors = platform.connectors('fill_rebuild');
  const publisher = await platform.start('publish', connectors, 'streaming');
  bench.closers.push(publisher.stop);
  await platform.loaded(connectors);
  await insertRows(platform.sql, nodes, 100);
  await platform.published(await insertRelationsAmong(platform.sql, relationships));
  const count = nodes + relationships;
  let batches;
  let runs = 0;
  let whole;

  /** From the first partition assigned, as the projector is measured, to the last record applied; then the proof. */
  async function build() {
    const graph = `rebuild${(runs += 1)}`;
    const { NEO4J_URI } = bench.stack.env;
    const command = `rebuild --into ${NEO4J_URI} --force-empty`;
    const building = await platform.start(command, platform.connectors(graph), 'partitions assigned', {
      NEO4J_URI: undefined,
    });
    const before = cpuSeconds(bench.stack, building.pid);
    const end = await topicEnds(bench, graph, platform.topics);
    const next = 'MATCH (p:_Progress {namespace: $graph}) RETURN sum(p.next) AS next';
    const finished = await until(async () => Number((await bench.cypher(next, { graph }))[0].next) >= end);
    const cpu = spent(before, cpuSeconds(bench.stack, building.pid));
    const code = await building.exited;
    if (code !== 0) throw new Error(`the rebuild ended with ${code}`);
    const seconds = (since) => (since - building.startedAt) / 1000;
    whole = { count, seconds: seconds(performance.now()), cpu };
    await expectNodes(bench, `Entity_${graph}`, nodes);
    batches ??= await batchesOf(bench, graph);
    await removeNodes(bench, graph);
    return { count, seconds: seconds(finished), cpu };
  }

  async function bare() {
    const graph = `bare_rebuild${runs}`;
    await bench.cypher(`CREATE CONSTRAINT FOR (n:Entity_${graph}) REQUIRE n.id IS UNIQUE`);
    await bench.cypher(`CREATE CONSTRAINT FOR ()-[r:RELATED_${graph}]-() REQUIRE r.id IS UNIQUE`);
    const before = cpuSeconds(bench.stack, process.pid);
    const startedAt = performance.now();
    await load(
      bench,
      batches.nodes,
      `UNWIND $rows AS row MERGE (n:Entity_${graph} {id: row.id}) SET n = row, n:Report`,
    );
    await load(
      bench,
      batches.relationships,
      `UNWIND $rows AS row MERGE (a:Entity_${graph} {id: row.from}) MERGE (b:Entity_${graph} {id: row.to})
       MERGE (a)-[r:RELATED_${graph} {id: row.properties.id}]->(b) SET r = row.properties`,
    );
    const seconds = (performance.now() - startedAt) / 1000;
    const cpu = spent(before, cpuSeconds(bench.stack, process.pid));
    await expectNodes(bench, `Entity_${graph}`, nodes);
    await removeNodes(bench, graph);
    return { count, seconds, cpu };
  }

  const unit = 'elements/s';
  return [
    { name: NAME, unit, run: build },
    { name: 'the same, proof included', unit, run: () => Promise.resolve(whole) },
    { name: 'bare loader of the same data', unit, run: bare, comparedWith: NAME },
  ];
}

async function load({ driver }, batches, query) {
  const left = [...batches];
  const loader = async () => {
    const session = driver.session();
    for (let rows = left.shift(); rows !== undefined; rows = left.shift())
      await session.executeWrite((open) => open.run(query, { rows }));
    await session.close();
  };
  await Promise.all(Array.from({ length: BARE_SESSIONS }, loader));
}

async function batchesOf(bench, graph) {
  const read = async (query) => {
    const found = await bench.cypher(query);
    const batches = [];
    for (let i = 0; i < found.length; i += BARE_BATCH)
      batches.push(found.slice(i, i + BARE_BATCH).map(({ row }) => row));
    return batches;
  };
  return {
    nodes: await read(`MATCH (n:Entity_${graph}) RETURN properties(n) AS row`),
    relationships: await read(
      `MATCH (a)-[r:RELATED_${graph}]->(b) RETURN {from: a.id, to: b.id, properties: properties(r)} AS row`,
    ),
  };
}

/** So that every run finds a graph of the same size. */
async function removeNodes({ driver }, graph) {
  const session = driver.session();
  await session.run(`MATCH (n:Entity_${graph}) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS`);
  await session.close();
}
