/**
 * PostgreSQL servers of a test's own, for what must not happen to shared ones: killed, promoted, copied, set back.
 * They run the stack's programs with its settings, and end with the test's process.
 */
import { execFile } from 'node:child_process';
import { appendFile, chown, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { freePorts } from '../../src/stack/ports.ts';
import { databaseUrl, postgresPlan } from '../../src/stack/postgres.ts';
import { claimFolder } from '../../src/stack/registry.ts';
import { Server } from '../../src/stack/server.ts';
import { installSoftware } from '../../src/stack/software.ts';
import { eventually } from './platform.ts';
import { query } from './serving.ts';

export type Settings = Readonly<Record<string, string>>;

export interface PostgresServer {
  readonly name: string;
  readonly url: string;
  readonly service: Server;
  /** Added to its configuration: holds from the next start on. */
  configure(settings: Settings): Promise<void>;
  query<Row = Record<string, unknown>>(sql: string): Promise<Row[]>;
}

export interface PostgresServers {
  /** Makes a cluster and starts it. */
  create(name: string, settings?: Settings): Promise<PostgresServer>;
  /** A streaming standby, as a copy of the primary, which is stopped for it. Copies no slots. */
  createStandby(name: string, primary: PostgresServer): Promise<PostgresServer>;
  /** Sets a copy of a stopped server's data aside. */
  save(server: PostgresServer): Promise<void>;
  /** Puts the copy back: the server is where it was then. */
  restore(server: PostgresServer): Promise<void>;
  /** As `restore`, by way of archive recovery: the server goes on from there on a new timeline. */
  restoreToPoint(server: PostgresServer): Promise<void>;
  stop(): Promise<void>;
}

const PASSWORD = 'test-only';

export async function postgresServers(): Promise<PostgresServers> {
  const never = new AbortController().signal;
  const { postgres: software } = await installSoftware(undefined, () => undefined, never);
  const folder = await claimFolder(undefined, true);
  const servers: PostgresServer[] = [];
  const dirOf = (name: string) => path.join(folder.dir, name);
  const dataOf = ({ name }: PostgresServer) => path.join(dirOf(name), 'data');
  const savedOf = (server: PostgresServer) => `${dataOf(server)}.saved`;

  async function describe(name: string): Promise<PostgresServer> {
    const [port = 0] = await freePorts(1);
    const logFile = path.join(folder.dir, `${name}.log`);
    const plan = await postgresPlan({ software, dir: dirOf(name), logFile, port, password: PASSWORD });
    const service = new Server(plan, {
      spawned: (_, pid) => {
        folder.record(name, pid);
      },
      ended: () => {
        folder.record(name);
      },
    });
    const server: PostgresServer = {
      name,
      url: databaseUrl(port, PASSWORD),
      service,
      async configure(settings) {
        const lines = Object.entries(settings).map(([setting, value]) => `${setting} = '${value}'\n`);
        await appendFile(path.join(dataOf(server), 'postgresql.conf'), lines.join(''));
      },
      query: <Row>(sql: string) => query(server.url, sql) as Promise<Row[]>,
    };
    servers.push(server);
    return server;
  }

  async function restore(server: PostgresServer): Promise<void> {
    await rm(dataOf(server), { recursive: true });
    await copy(savedOf(server), dataOf(server));
  }

  return {
    async create(name, settings = {}) {
      const server = await describe(name);
      await server.service.start();
      if (Object.keys(settings).length > 0) {
        await server.configure(settings);
        await server.service.restart();
      }
      return server;
    },
    async createStandby(name, primary) {
      await primary.query(`select pg_create_physical_replication_slot('${name}')`);
      await primary.service.stop('fast');
      const standby = await describe(name);
      await mkdir(dirOf(name), { mode: 0o700 });
      await copy(dataOf(primary), dataOf(standby));
      await rm(path.join(dataOf(standby), 'pg_replslot'), { recursive: true });
      const owner = await stat(dataOf(primary));
      for (const made of [dirOf(name), path.join(dataOf(standby), 'pg_replslot')]) {
        await mkdir(made, { recursive: true, mode: 0o700 });
        await chown(made, owner.uid, owner.gid);
      }
      await primary.configure({ synchronized_standby_slots: name });
      await standby.configure({
        // With a database: slots are synchronised on an ordinary connection.
        primary_conninfo: primary.url,
        primary_slot_name: name,
        hot_standby_feedback: 'on',
        sync_replication_slots: 'on',
        synchronized_standby_slots: '',
      });
      await writeFile(path.join(dataOf(standby), 'standby.signal'), '');
      await primary.service.start();
      await standby.service.start();
      return standby;
    },
    async save(server) {
      await copy(dataOf(server), savedOf(server));
    },
    restore,
    async restoreToPoint(server) {
      await restore(server);
      // There is no archive: what the copy has of WAL is replayed.
      await server.configure({ restore_command: 'false' });
      await writeFile(path.join(dataOf(server), 'recovery.signal'), '');
    },
    async stop() {
      await Promise.all(servers.map(({ service }) => service.stop('immediate')));
      await folder.release({ keepLogs: false });
    },
  };
}

/** Owners and times as they are. */
async function copy(from: string, to: string): Promise<void> {
  await promisify(execFile)('cp', ['-a', from, to]);
}

/** Resolves when it is the primary. */
export async function promote(standby: PostgresServer): Promise<void> {
  await standby.query(`select pg_promote()`);
}

/** The standby has the slot, and would have it after a promotion. */
export async function slotSynced(
  primary: PostgresServer,
  standby: PostgresServer,
  slot: string,
): Promise<void> {
  await eventually(`the slot is synchronised to ${standby.name}`, async () => {
    // A slot is synchronised once the primary's has moved beyond what the standby keeps: that takes this record.
    await primary.query(`select pg_log_standby_snapshot()`);
    const rows = await standby.query(
      `select from pg_replication_slots
        where slot_name = '${slot}' and synced and failover and not temporary and invalidation_reason is null`,
    );
    return rows.length === 1;
  });
}
