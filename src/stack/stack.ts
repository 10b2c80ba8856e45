/**
 * The local stack: PostgreSQL, Kafka and Neo4j as ordinary processes on free loopback ports, without Docker.
 *
 * Flow: end what dead launchers left → fetch programs (once) → claim a folder → prepare and start all three at once.
 * Guarantee: either all three serve and their addresses are returned, or none runs and one AppError says why. What is
 * started ends with this process, however it ends (registry.ts).
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { exists } from './files.ts';
import { kafkaPlan } from './kafka.ts';
import { NEO4J_DATABASE, NEO4J_USERNAME, neo4jPlan, neo4jUri } from './neo4j.ts';
import { freePorts, isFree, LOOPBACK } from './ports.ts';
import { databaseUrl, postgresPlan } from './postgres.ts';
import { claimFolder, reapDeadStacks } from './registry.ts';
import {
  Server,
  type ServerEvents,
  type ServerName,
  type ServerPlan,
  type StackService,
  type StopMode,
} from './server.ts';
import { installSoftware, type Say, type Software } from './software.ts';

export interface StackOptions {
  /** Where the data is kept. Without it, data is ephemeral and in the system's temporary folder. */
  readonly dir?: string;
  /** The data, then in a folder of its own below `dir`, goes when the stack stops. */
  readonly ephemeral?: boolean;
  /** Where the programs are kept, for this stack and the next. */
  readonly cacheDir?: string;
  readonly onProgress?: Say;
  /** Aborts the start. A stack that runs is stopped by `stop`. */
  readonly signal?: AbortSignal;
}

export interface Stack {
  /** The settings by which the product finds the servers. */
  readonly env: Readonly<Record<string, string>>;
  readonly services: Readonly<Record<ServerName, StackService>>;
  stop(): Promise<void>;
}

interface Settings {
  readonly postgresPort: number;
  readonly kafkaPort: number;
  readonly kafkaControllerPort: number;
  readonly neo4jPort: number;
  readonly postgresPassword: string;
  readonly neo4jPassword: string;
}

/** Throws AppError STACK_TOOL_MISSING or STACK_FAILED, or the signal's reason. */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const { dir, cacheDir, ephemeral = dir === undefined, onProgress: say = () => undefined } = options;
  const failed = new AbortController();
  const signal = AbortSignal.any([failed.signal, ...(options.signal === undefined ? [] : [options.signal])]);

  await reapDeadStacks();
  const software = await installSoftware(cacheDir, say, signal);
  const folder = await claimFolder(dir, ephemeral);
  const settings = await loadSettings(folder.dir);
  const plans = await planServers(folder.dir, software, settings);
  const events: ServerEvents = {
    spawned: (name, pid) => {
      folder.record(name, pid);
    },
    ended: (name, { expected, logFile }) => {
      folder.record(name, undefined);
      if (!expected) say(`${name}: ended by itself; its log is ${logFile}`);
    },
  };
  const services = {
    postgres: new Server(plans.postgres, events),
    kafka: new Server(plans.kafka, events),
    neo4j: new Server(plans.neo4j, events),
  };
  const starts = Object.values(services).map(async (server) => {
    await server.start(signal);
    say(`${server.name}: ready on port ${server.port}`);
  });
  const stopAll = async (mode: StopMode): Promise<void> => {
    await Promise.all(Object.values(services).map((server) => server.stop(mode)));
  };

  try {
    await Promise.all(starts);
  } catch (error) {
    failed.abort(error); // so that the others do not start on
    await Promise.allSettled(starts);
    await stopAll('immediate');
    await folder.release({ keepLogs: options.signal?.aborted !== true });
    throw error;
  }

  return {
    env: {
      DATABASE_URL: databaseUrl(settings.postgresPort, settings.postgresPassword),
      KAFKA_BROKERS: `${LOOPBACK}:${settings.kafkaPort}`,
      NEO4J_URI: neo4jUri(settings.neo4jPort),
      NEO4J_USERNAME,
      NEO4J_PASSWORD: settings.neo4jPassword,
      NEO4J_DATABASE,
    },
    services,
    async stop() {
      // Nobody will read ephemeral data again: no need to leave it tidy.
      await stopAll(ephemeral ? 'immediate' : 'fast');
      await folder.release({ keepLogs: false });
    },
  };
}

async function planServers(
  dir: string,
  software: Software,
  settings: Settings,
): Promise<Record<ServerName, ServerPlan>> {
  const logs = path.join(dir, 'logs');
  await mkdir(logs, { recursive: true });
  const place = (name: ServerName): { software: string; dir: string; logFile: string } => ({
    software: software[name],
    dir: path.join(dir, name),
    logFile: path.join(logs, `${name}.log`),
  });
  return {
    postgres: await postgresPlan({
      ...place('postgres'),
      port: settings.postgresPort,
      password: settings.postgresPassword,
    }),
    kafka: kafkaPlan({
      ...place('kafka'),
      port: settings.kafkaPort,
      controllerPort: settings.kafkaControllerPort,
    }),
    neo4j: neo4jPlan({
      ...place('neo4j'),
      port: settings.neo4jPort,
      password: settings.neo4jPassword,
    }),
  };
}

/** The same passwords as last time, and the same ports if they are still free. */
async function loadSettings(dir: string): Promise<Settings> {
  const file = path.join(dir, 'settings.json');
  const kept = (await exists(file)) ? (JSON.parse(await readFile(file, 'utf8')) as Settings) : undefined;
  if (kept !== undefined && (await areFree(portsOf(kept)))) return kept;
  const [postgresPort = 0, kafkaPort = 0, kafkaControllerPort = 0, neo4jPort = 0] = await freePorts(4);
  const settings = {
    postgresPassword: kept?.postgresPassword ?? newPassword(),
    neo4jPassword: kept?.neo4jPassword ?? newPassword(),
    postgresPort,
    kafkaPort,
    kafkaControllerPort,
    neo4jPort,
  };
  await writeFile(file, JSON.stringify(settings), { mode: 0o600 });
  return settings;
}

async function areFree(ports: readonly number[]): Promise<boolean> {
  for (const port of ports) if (!(await isFree(port))) return false;
  return true;
}

function portsOf(settings: Settings): number[] {
  return [settings.postgresPort, settings.kafkaPort, settings.kafkaControllerPort, settings.neo4jPort];
}

function newPassword(): string {
  return randomBytes(18).toString('base64url');
}
