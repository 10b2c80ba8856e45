/** PostgreSQL 18 as the stack runs it: logical replication on, passwords checked, everything else as it comes. */
import { execFile } from 'node:child_process';
import { appendFile, chown, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { AppError } from '../core/errors.ts';
import { exists } from './files.ts';
import { LOOPBACK } from './ports.ts';
import type { ServerPlan } from './server.ts';
import { requireReachable, serverUser } from './system-user.ts';

/** Enough slots and connections for many tests at once. */
const SETTINGS = {
  listen_addresses: LOOPBACK,
  unix_socket_directories: '',
  wal_level: 'logical',
  max_connections: 200,
  max_replication_slots: 60,
  max_wal_senders: 60,
  shared_buffers: '256MB',
};

/** Sorted for people, as on most platforms in production: whoever needs byte order has to ask for `collate "C"`. */
const LOCALE = ['--encoding=UTF8', '--locale=C', '--locale-provider=icu', '--icu-locale=en'];

const PROBE_TIMEOUT_MS = 5_000;

export function databaseUrl(port: number, password: string): string {
  return `postgres://postgres:${password}@${LOOPBACK}:${port}/postgres`;
}

export async function postgresPlan(options: {
  software: string;
  dir: string;
  logFile: string;
  port: number;
  password: string;
}): Promise<ServerPlan> {
  const { software, dir, logFile, port, password } = options;
  const user = await serverUser();
  const bin = path.join(software, 'native', 'bin');
  const data = path.join(dir, 'data');
  return {
    name: 'postgres',
    port,
    command: [path.join(bin, 'postgres'), '-D', data, '-p', port.toString()],
    ...(user === undefined ? {} : { user }),
    logFile,
    signals: { fast: 'SIGINT', immediate: 'SIGQUIT', kill: 'SIGKILL' },

    async prepare(signal) {
      await mkdir(dir, { recursive: true, mode: 0o700 });
      if (user !== undefined) {
        await requireReachable(path.dirname(dir));
        await chown(dir, user.uid, user.gid);
      }
      if (await exists(data)) return;
      // Renamed when whole: an interrupted initdb leaves nothing that looks like a database.
      const fresh = path.join(dir, 'data.new');
      const passwordFile = path.join(dir, 'password');
      await rm(fresh, { recursive: true, force: true });
      await writeFile(passwordFile, password, { mode: 0o600 });
      if (user !== undefined) await chown(passwordFile, user.uid, user.gid);
      const settings = Object.entries(SETTINGS).map(([name, value]) => `--set=${name}=${value}`);
      await promisify(execFile)(
        path.join(bin, 'initdb'),
        [
          '-D',
          fresh,
          '-U',
          'postgres',
          '--auth=scram-sha-256',
          `--pwfile=${passwordFile}`,
          ...LOCALE,
          ...settings,
        ],
        { ...user, signal },
      ).catch(async (cause: unknown) => {
        signal.throwIfAborted();
        await appendFile(logFile, String((cause as { stderr?: unknown }).stderr));
        throw new AppError('STACK_FAILED', `initdb failed; its log is ${logFile}.`, { cause });
      });
      await rm(passwordFile);
      await rename(fresh, data);
    },

    async probe() {
      const client = new pg.Client({
        connectionString: databaseUrl(port, password),
        connectionTimeoutMillis: PROBE_TIMEOUT_MS,
        query_timeout: PROBE_TIMEOUT_MS,
      });
      client.on('error', () => undefined); // the query's rejection tells
      try {
        await client.connect();
        await client.query('select 1');
      } finally {
        await client.end();
      }
    },
  };
}
