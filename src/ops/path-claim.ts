/**
 * A path that one run of a host has to itself, whatever it replicates: the name of an abstract socket, which the system
 * frees however the process ends. (Of Linux, and of one network namespace: elsewhere nobody is kept out.)
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { realpath } from 'node:fs/promises';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { AppError } from '../core/errors.ts';

export interface PathClaim {
  readonly release: () => Promise<void>;
}

/** The folder must be there. Throws ALREADY_RUNNING. */
export async function claimPath(path: string): Promise<PathClaim> {
  if (process.platform !== 'linux') return { release: () => Promise.resolve() };
  const whole = join(await realpath(dirname(path)), basename(path));
  const server = createServer().unref();
  server.listen(`\0eiq-graph-${createHash('sha256').update(whole).digest('hex')}`);
  try {
    await once(server, 'listening');
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
      ? new AppError('ALREADY_RUNNING', `Another run writes to ${path}.`)
      : error;
  }
  return {
    async release() {
      server.close();
      await once(server, 'close');
    },
  };
}
