/** The servers as containers, where a Docker engine answers: the images of docker-compose.yml. */
import { randomBytes } from 'node:crypto';
import { GenericContainer, getContainerRuntimeClient, type StartedTestContainer, Wait } from 'testcontainers';
import { freePorts } from '../../src/stack/ports.ts';

export interface Containers {
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 180_000;

/** Undefined, or why there is none. */
export async function whyNoDockerEngine(): Promise<string | undefined> {
  return getContainerRuntimeClient().then(
    () => undefined,
    () => 'no Docker engine answers',
  );
}

export async function startContainers(): Promise<Containers> {
  const password = randomBytes(12).toString('hex');
  const started = await Promise.allSettled([startPostgres(password), startKafka(), startNeo4j(password)]);
  const containers = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const stop = async (): Promise<void> => {
    await Promise.all(containers.map((container) => container.stop()));
  };
  const [postgres, kafka, neo4j] = containers;
  if (postgres === undefined || kafka === undefined || neo4j === undefined) {
    await stop();
    throw started.find((one) => one.status === 'rejected')?.reason as Error;
  }
  return {
    env: {
      DATABASE_URL: `postgres://postgres:${password}@${address(postgres, 5432)}/postgres`,
      KAFKA_BROKERS: address(kafka, 9092),
      NEO4J_URI: `bolt://${address(neo4j, 7687)}`,
      NEO4J_USERNAME: 'neo4j',
      NEO4J_PASSWORD: password,
      NEO4J_DATABASE: 'neo4j',
    },
    stop,
  };
}

function address(container: StartedTestContainer, port: number): string {
  return `${container.getHost()}:${container.getMappedPort(port)}`;
}

async function startPostgres(password: string): Promise<StartedTestContainer> {
  return new GenericContainer('postgres:18')
    .withEnvironment({ POSTGRES_PASSWORD: password })
    .withCommand(
      ['wal_level=logical', 'max_connections=200', 'max_wal_senders=60', 'max_replication_slots=60'].flatMap(
        (setting) => ['-c', setting],
      ),
    )
    .withExposedPorts(5432)
    .withHealthCheck({ test: ['CMD', 'pg_isready', '-h', '127.0.0.1', '-U', 'postgres'], interval: 500 })
    .withWaitStrategy(Wait.forHealthCheck())
    .withStartupTimeout(START_TIMEOUT_MS)
    .start();
}

/** Kafka tells its clients where to connect: it has to know the port on this side before it starts. */
async function startKafka(): Promise<StartedTestContainer> {
  const [port = 0] = await freePorts(1);
  return new GenericContainer('apache/kafka:4.3.1')
    .withEnvironment({
      KAFKA_NODE_ID: '1',
      KAFKA_PROCESS_ROLES: 'broker,controller',
      KAFKA_CONTROLLER_QUORUM_VOTERS: '1@localhost:9093',
      KAFKA_CONTROLLER_LISTENER_NAMES: 'CONTROLLER',
      KAFKA_LISTENERS: 'PLAINTEXT://:9092,CONTROLLER://:9093',
      KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://localhost:${port}`,
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
      KAFKA_AUTO_CREATE_TOPICS_ENABLE: 'false',
      KAFKA_MESSAGE_MAX_BYTES: '20971520',
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: '1',
      KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: '1',
      KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: '1',
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: '0',
      KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS: '1000',
    })
    .withExposedPorts({ container: 9092, host: port })
    .withWaitStrategy(Wait.forLogMessage('Kafka Server started'))
    .withStartupTimeout(START_TIMEOUT_MS)
    .start();
}

async function startNeo4j(password: string): Promise<StartedTestContainer> {
  return new GenericContainer('neo4j:5.26-community')
    .withEnvironment({
      NEO4J_AUTH: `neo4j/${password}`,
      NEO4J_dbms_security_auth__max__failed__attempts: '0',
    })
    .withExposedPorts(7687)
    .withWaitStrategy(Wait.forLogMessage('Started.'))
    .withStartupTimeout(START_TIMEOUT_MS)
    .start();
}
