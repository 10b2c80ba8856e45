/** Another Neo4j server than the one that the tests of a run share: a real one, on loopback, gone with its test. */
import { randomBytes } from 'node:crypto';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import neo4j, { type Driver } from 'neo4j-driver';
import { shortLived } from '../../src/stack/java-flags.ts';
import { NEO4J_DATABASE, NEO4J_USERNAME, neo4jPlan, neo4jUri } from '../../src/stack/neo4j.ts';
import { freePorts } from '../../src/stack/ports.ts';
import { claimFolder } from '../../src/stack/registry.ts';
import { Server } from '../../src/stack/server.ts';
import { installSoftware } from '../../src/stack/software.ts';

export interface SecondNeo4j {
  readonly uri: string;
  readonly password: string;
  readonly driver: Driver;
  readonly cypher: (query: string, parameters?: object) => Promise<Record<string, unknown>[]>;
  /** Removes all data. */
  readonly clear: () => Promise<void>;
  /** Where its files are. */
  readonly dir: string;
  readonly server: Pick<Server, 'start' | 'stop'>;
  readonly stop: () => Promise<void>;
}

/** What a dump has of a database, and a load puts in the place of another. */
const STORE = ['data/databases/neo4j', 'data/transactions/neo4j'];

/** Neither server may run. `parts`: files and folders. */
export function copyStore(
  from: Pick<SecondNeo4j, 'dir'>,
  to: Pick<SecondNeo4j, 'dir'>,
  parts: readonly string[] = STORE,
): void {
  for (const part of parts) {
    rmSync(join(to.dir, part), { recursive: true });
    cpSync(join(from.dir, part), join(to.dir, part), { recursive: true });
  }
}

export async function startSecondNeo4j(): Promise<SecondNeo4j> {
  const software = await installSoftware(undefined, () => undefined, AbortSignal.timeout(120_000));
  const folder = await claimFolder(undefined, true);
  const [port = 0] = await freePorts(1);
  const password = randomBytes(18).toString('base64url');
  const dir = join(folder.dir, 'neo4j');
  const plan = neo4jPlan({
    program: shortLived(software.neo4j),
    dir,
    logFile: join(folder.dir, 'neo4j.log'),
    port,
    password,
  });
  const server = new Server(plan, {
    spawned: (name, pid) => {
      folder.record(name, pid);
    },
    ended: (name) => {
      folder.record(name);
    },
  });
  await server.start();
  const uri = neo4jUri(port);
  const driver = neo4j.driver(uri, neo4j.auth.basic(NEO4J_USERNAME, password), { useBigInt: true });
  const cypher: SecondNeo4j['cypher'] = async (query, parameters = {}) => {
    const { records } = await driver.executeQuery(query, parameters, { database: NEO4J_DATABASE });
    return records.map((record) => record.toObject());
  };
  return {
    uri,
    password,
    driver,
    cypher,
    dir,
    server,
    async clear() {
      await cypher('MATCH (n) DETACH DELETE n');
    },
    async stop() {
      await driver.close();
      await server.stop('immediate');
      await folder.release({ keepLogs: false });
    },
  };
}
