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
import { archiving, hasArchive, type JavaProgram } from './class-archive.ts';
import { exists } from './files.ts';
import { shortLived } from './java-flags.ts';
import { kafkaPlan } from './kafka.ts';
import { NEO4J_DATABASE, NEO4J_USERNAME, neo4jPlan, neo4jUri } from './neo4j.ts';
import { freePorts, isFree, LOOPBACK } from './ports.ts';
import { databaseUrl, postgresPlan } from './postgres.ts';
import { claimFolder, reapDeadStacks, type StackFolder } from './registry.ts';
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
  /** The servers live for minutes, and are optimised for that. By default so are those of ephemeral data. */
  readonly shortLived?: boolean;
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
  const tuned = (options.shortLived ?? ephemeral) ? shortLived : (program: JavaProgram) => program;
  const signal = options.signal ?? new AbortController().signal;
  await reapDeadStacks();
  const software = await withClassArchives(await installSoftware(cacheDir, say, signal), say, signal);
  const folder = await claimFolder(dir, ephemeral);
  const { settings, services, stop } = await startServers(
    folder,
    { ...software, kafka: tuned(software.kafka), neo4j: tuned(software.neo4j) },
    say,
    signal,
  );
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
    // Nobody will read ephemeral data again: no need to leave it tidy.
    stop: () => stop(ephemeral ? 'immediate' : 'fast'),
  };
}

/** If an archive is missing: runs the servers once to make both. */
async function withClassArchives(software: Software, say: Say, signal: AbortSignal): Promise<Software> {
  if (hasArchive(software.kafka) && hasArchive(software.neo4j)) return software;
  say('preparing the servers for faster starts, this once');
  const kafka = archiving(software.kafka);
  const neo4j = archiving(software.neo4j);
  const folder = await claimFolder(undefined, true);
  const once = { ...software, kafka: kafka.program, neo4j: neo4j.program };
  const { stop } = await startServers(folder, once, () => undefined, signal);
  await stop('fast');
  return { ...software, kafka: await kafka.finish(), neo4j: await neo4j.finish() };
}

interface StartedServers {
  readonly settings: Settings;
  readonly services: Record<ServerName, Server>;
  readonly stop: (mode: StopMode) => Promise<void>;
}

/** All three or none; the folder is released with them. */
async function startServers(
  folder: StackFolder,
  software: Software,
  say: Say,
  signal: AbortSignal,
): Promise<StartedServers> {
  const settings = await loadSettings(folder.dir);
  const plans = await planServers(folder.dir, software, settings);
  const events: ServerEvents = {
    spawned: (name, pid) => {
      folder.record(name, pid);
    },
    ended: (name, { expected, logFile }) => {
      folder.record(name);
      if (!expected) say(`${name}: ended by itself; its log is ${logFile}`);
    },
  };
  const services = {
    postgres: new Server(plans.postgres, events),
    kafka: new Server(plans.kafka, events),
    neo4j: new Server(plans.neo4j, events),
  };
  const servers = Object.values(services);
  const stop = async (mode: StopMode, options: { keepLogs: boolean }): Promise<void> => {
    await Promise.all(servers.map((server) => server.stop(mode)));
    await folder.release(options);
  };

  const failed = new AbortController();
  const starts = servers.map(async (server) => {
    await server.start(AbortSignal.any([signal, failed.signal]));
    say(`${server.name}: ready on port ${server.port}`);
  });
  try {
    await Promise.all(starts);
  } catch (error) {
    failed.abort(error); // so that the others do not start on
    await Promise.allSettled(starts);
    await stop('immediate', { keepLogs: !signal.aborted });
    throw error;
  }
  return { settings, services, stop: (mode) => stop(mode, { keepLogs: false }) };
}

async function planServers(
  dir: string,
  software: Software,
  settings: Settings,
): Promise<Record<ServerName, ServerPlan>> {
  const logs = path.join(dir, 'logs');
  await mkdir(logs, { recursive: true });
  const place = (name: ServerName): { dir: string; logFile: string } => ({
    dir: path.join(dir, name),
    logFile: path.join(logs, `${name}.log`),
  });
  return {
    postgres: await postgresPlan({
      ...place('postgres'),
      software: software.postgres,
      port: settings.postgresPort,
      password: settings.postgresPassword,
    }),
    kafka: kafkaPlan({
      ...place('kafka'),
      program: software.kafka,
      port: settings.kafkaPort,
      controllerPort: settings.kafkaControllerPort,
    }),
    neo4j: neo4jPlan({
      ...place('neo4j'),
      program: software.neo4j,
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
