/** What every graph command begins with: settings, mapping and log, complete and valid before anything is touched. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadMapping } from '../config/connectors.ts';
import { type Environment, readEnvironment, requireVariables } from '../config/env.ts';
import { AppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import type { KafkaOptions } from '../kafka/client.ts';
import type { Neo4jOptions } from '../neo4j/client.ts';
import { createLog, type Log } from '../runtime/log.ts';

export interface GraphContext {
  readonly mapping: Mapping;
  readonly log: Log;
  readonly databaseUrl: string;
  readonly kafka: KafkaOptions;
  readonly neo4j: Neo4jOptions;
  /** Of the graph that a rebuild fills, if it is another one. */
  readonly targetCredentials: Pick<Neo4jOptions, 'username' | 'password'>;
}

type Server = 'DATABASE_URL' | 'KAFKA_BROKERS' | 'NEO4J_URI';

/** Null if the platform's switch is off. Throws CONFIG_INVALID. */
export function graphContext(command: string, servers: readonly Server[]): GraphContext | null {
  const env = readEnvironment();
  if (!env.GRAPH_ENABLED) return null;
  requireVariables(env, servers);
  const mapping = loadMapping(env.CONNECTORS_DIR ?? join(import.meta.dirname, '../../connectors'));
  return {
    mapping,
    log: createLog(env.LOG_LEVEL, `graph ${command}`),
    databaseUrl: env.DATABASE_URL ?? '',
    kafka: kafkaOptions(env),
    neo4j: {
      uri: env.NEO4J_URI ?? '',
      username: env.NEO4J_USERNAME,
      password: env.NEO4J_PASSWORD,
      database: env.NEO4J_DATABASE,
    },
    targetCredentials: {
      username: env.TARGET_NEO4J_USERNAME ?? env.NEO4J_USERNAME,
      password: env.TARGET_NEO4J_PASSWORD ?? env.NEO4J_PASSWORD,
    },
  };
}

/** For commands that promise a result: throws GRAPH_DISABLED if the switch is off. */
export function enabledGraphContext(command: string, servers: readonly Server[]): GraphContext {
  const context = graphContext(command, servers);
  if (context === null)
    throw new AppError('GRAPH_DISABLED', 'The graph is switched off (GRAPH_ENABLED=false).');
  return context;
}

function kafkaOptions(env: Environment): KafkaOptions {
  const { KAFKA_SASL_MECHANISM: mechanism, KAFKA_TLS_CA_FILE: ca } = env;
  const username = env.KAFKA_SASL_USERNAME ?? '';
  const password = env.KAFKA_SASL_PASSWORD ?? '';
  return {
    brokers: (env.KAFKA_BROKERS ?? '').split(',').map((broker) => broker.trim()),
    clientId: 'eiq-platform-graph',
    ...(env.KAFKA_TLS || ca !== undefined ? { ssl: ca === undefined ? true : { ca: readFileSync(ca) } } : {}),
    ...(mechanism === undefined ? {} : { sasl: { mechanism, username, password } }),
  };
}
