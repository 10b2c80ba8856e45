/** One plain request to each server, with the drivers alone. */
import { Kafka, logLevel } from 'kafkajs';
import neo4j from 'neo4j-driver';
import pg from 'pg';
import { createTopic } from './kafka.ts';
import type { Servers } from './servers.ts';

type Graph = Pick<Servers, 'neo4jUri' | 'neo4jUsername' | 'neo4jPassword' | 'neo4jDatabase'>;

/** Rejects unless all three serve. */
export async function expectServing(servers: Servers): Promise<void> {
  await query(servers.databaseUrl, 'select 1');
  await topics(servers.kafkaBrokers);
  await cypher(servers, 'RETURN 1 AS n');
}

export async function query(databaseUrl: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Creates `topic`, if given, and lists all. */
export async function topics(brokers: string, topic?: string): Promise<string[]> {
  const admin = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    if (topic !== undefined) await createTopic(admin, { topic });
    return await admin.listTopics();
  } finally {
    await admin.disconnect();
  }
}

export async function cypher(graph: Graph, statement: string): Promise<unknown[]> {
  const auth = neo4j.auth.basic(graph.neo4jUsername, graph.neo4jPassword);
  const driver = neo4j.driver(graph.neo4jUri, auth, { disableLosslessIntegers: true });
  try {
    const { records } = await driver.executeQuery(statement, {}, { database: graph.neo4jDatabase });
    return records.map((record) => record.get('n') as unknown);
  } finally {
    await driver.close();
  }
}
