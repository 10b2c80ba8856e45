/** Neo4j 5.26 Community as the stack runs it: Bolt alone, passwords checked. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import neo4j, { Neo4jError } from 'neo4j-driver';
import type { JavaProgram } from './class-archive.ts';
import { LOOPBACK } from './ports.ts';
import type { ServerPlan } from './server.ts';

export const NEO4J_USERNAME = 'neo4j';
export const NEO4J_DATABASE = 'neo4j';

/** What a new installation accepts, for nothing but changing it. */
const INITIAL_PASSWORD = 'neo4j';

const PROBE_TIMEOUT_MS = 5_000;

export function neo4jUri(port: number): string {
  return `bolt://${LOOPBACK}:${port}`;
}

function settings(port: number): string {
  return Object.entries({
    'server.bolt.listen_address': `${LOOPBACK}:${port}`,
    'server.bolt.advertised_address': `${LOOPBACK}:${port}`,
    'server.http.enabled': false,
    'server.https.enabled': false,
    'server.memory.pagecache.size': '512m',
    'dbms.usage_report.enabled': false,
    // A stop waits twice this long (5 s) for connections that might still come.
    'internal.dbms.bolt.netty_server_shutdown_quiet_period': 0,
    // Tests of wrong passwords must not lock everyone else out.
    'dbms.security.auth_max_failed_attempts': 0,
  })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

export function neo4jPlan(options: {
  program: JavaProgram;
  dir: string;
  logFile: string;
  port: number;
  password: string;
}): ServerPlan {
  const { program, dir, logFile, port, password } = options;
  const conf = path.join(dir, 'conf');
  return {
    name: 'neo4j',
    port,
    command: [
      'java',
      '-Xms512m',
      '-Xmx2g',
      ...program.flags,
      '--add-opens=java.base/java.nio=ALL-UNNAMED',
      '--add-opens=java.base/java.io=ALL-UNNAMED',
      '--add-opens=java.base/sun.nio.ch=ALL-UNNAMED',
      '-cp',
      path.join(program.jars, '*'),
      'org.neo4j.server.CommunityEntryPoint',
      `--home-dir=${dir}`,
      `--config-dir=${conf}`,
    ],
    logFile,
    signals: { fast: 'SIGTERM', immediate: 'SIGKILL', kill: 'SIGKILL' },

    async prepare() {
      await mkdir(conf, { recursive: true, mode: 0o700 });
      await writeFile(path.join(conf, 'neo4j.conf'), settings(port));
    },

    async probe() {
      try {
        await query(port, password, NEO4J_DATABASE, 'RETURN 1');
      } catch (error) {
        if (!(error instanceof Neo4jError) || error.code !== 'Neo.ClientError.Security.Unauthorized')
          throw error;
        await query(port, INITIAL_PASSWORD, 'system', 'ALTER CURRENT USER SET PASSWORD FROM $from TO $to', {
          from: INITIAL_PASSWORD,
          to: password,
        });
      }
    },
  };
}

async function query(
  port: number,
  password: string,
  database: string,
  cypher: string,
  parameters?: Record<string, string>,
): Promise<void> {
  const driver = neo4j.driver(neo4jUri(port), neo4j.auth.basic(NEO4J_USERNAME, password), {
    connectionTimeout: PROBE_TIMEOUT_MS,
    connectionAcquisitionTimeout: PROBE_TIMEOUT_MS,
    maxTransactionRetryTime: 0,
  });
  try {
    await driver.executeQuery(cypher, parameters, { database });
  } finally {
    await driver.close();
  }
}
