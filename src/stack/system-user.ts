/** PostgreSQL refuses to run as root: the user that it runs as then, and whether that user gets to its data. */
import { readFile, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import path from 'node:path';
import { AppError } from '../core/errors.ts';

export interface SystemUser {
  readonly uid: number;
  readonly gid: number;
}

/** Undefined unless we are root. `postgres` where there is one, else `nobody`: nothing is added to the system. */
export async function serverUser(): Promise<SystemUser | undefined> {
  if (userInfo().uid !== 0) return undefined;
  const accounts = await readFile('/etc/passwd', 'utf8');
  for (const name of ['postgres', 'nobody']) {
    const [, uid, gid] = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(accounts) ?? [];
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new AppError(
    'STACK_FAILED',
    'PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it as.',
  );
}

/** Throws STACK_FAILED, naming the folder in the way, unless every user may pass through to `dir`. */
export async function requireReachable(dir: string): Promise<void> {
  for (let at = dir; at !== path.dirname(at); at = path.dirname(at)) {
    if (((await stat(at)).mode & 0o001) === 0) {
      throw new AppError(
        'STACK_FAILED',
        `As root, PostgreSQL runs as another user, who may not enter ${at}: choose another --dir, or --ephemeral.`,
      );
    }
  }
}
