/** The servers that the tests of a run share; the global set-up chose them. */
import { inject } from 'vitest';

export interface Servers {
  readonly databaseUrl: string;
  readonly kafkaBrokers: string;
  readonly neo4jUri: string;
  readonly neo4jUsername: string;
  readonly neo4jPassword: string;
  readonly neo4jDatabase: string;
}

declare module 'vitest' {
  export interface ProvidedContext {
    servers: Servers;
  }
}

/** Each test makes its own database, slot, topics and labels on them, and restarts none: fault tests start a stack. */
export function servers(): Servers {
  return inject('servers');
}

/** From the names that the product reads. */
export function serversOf(env: Readonly<Record<string, string | undefined>>): Servers {
  return {
    databaseUrl: env['DATABASE_URL'] ?? '',
    kafkaBrokers: env['KAFKA_BROKERS'] ?? '',
    neo4jUri: env['NEO4J_URI'] ?? '',
    neo4jUsername: env['NEO4J_USERNAME'] ?? 'neo4j',
    neo4jPassword: env['NEO4J_PASSWORD'] ?? '',
    neo4jDatabase: env['NEO4J_DATABASE'] ?? 'neo4j',
  };
}
