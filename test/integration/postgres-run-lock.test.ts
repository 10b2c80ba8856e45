/** The lock that keeps a second run out: held for as long as the run, and known to be lost if it is. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { AppError } from '../../src/core/errors.ts';
import { lockRun, type RunLock } from '../../src/postgres/run-lock.ts';
import { eventually } from '../support/platform.ts';
import { createSource, type Source } from '../support/postgres-source.ts';

let source: Source;
let lost: AppError[] = [];
const locks: RunLock[] = [];
beforeAll(async () => {
  source = await createSource('lock', '');
});
afterEach(async () => {
  for (const lock of locks.splice(0)) await lock.release();
  lost = [];
});
afterAll(() => source.dispose());

const lock = async () => {
  locks.push(await lockRun(source.url, 'a run', 'of this', (error) => lost.push(error)));
};
const refused = { code: 'ALREADY_RUNNING' };

it('is not lost to a server that ends idle sessions, nor by its release', async () => {
  await source.client.query(`alter database ${source.name} set idle_session_timeout = '50ms'`);
  try {
    await lock();
    await delay(500);
    await expect(lock()).rejects.toMatchObject(refused);
  } finally {
    await source.client.query(`alter database ${source.name} reset idle_session_timeout`);
  }
  await locks.pop()?.release();
  await lock();
  expect(lost).toEqual([]);
});

it('says once that its connection is lost, and with it the lock', async () => {
  await lock();
  await source.client.query(
    `select pg_terminate_backend(pid, 5000) from pg_stat_activity
      where application_name like 'a run of process %' and datname = $1`,
    [source.name],
  );
  await eventually('it is told', () => Promise.resolve(lost.length > 0));
  await lock();
  expect(lost).toMatchObject([{ code: 'LOCK_LOST' }]);
});
