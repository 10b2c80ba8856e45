/** Free ports on the loopback address. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { AppError } from '../core/errors.ts';

export const LOOPBACK = '127.0.0.1';

/**
 * Below the ports that systems give to outgoing connections (32768 and up on Linux): in that range a client that tries
 * to reach a stopped server can take the server's port, or connect to itself.
 */
const FIRST = 20_000;
const END = 32_000;
const TRIES = 100;

export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  for (let tries = 0; tries < TRIES && ports.size < count; tries += 1) {
    const port = randomInt(FIRST, END);
    if (await isFree(port)) ports.add(port);
  }
  if (ports.size < count) throw new AppError('STACK_FAILED', `No free ports between ${FIRST} and ${END}.`);
  return [...ports];
}

export async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, LOOPBACK);
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
