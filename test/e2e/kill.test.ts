import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fill } from '../support/fill.ts';
import { CHANGES_PER_SECOND, createPlatform, type Platform, underLoad } from '../support/platform.ts';

/** Reliability faults 1 and 2: the full counts are in the soak tests. */
const CYCLES = Number(process.env['KILL_CYCLES'] ?? 8);

let platform: Platform;

beforeAll(async () => {
  platform = await createPlatform('kill');
  const first = platform.start(['publish']);
  await first.logged(/streaming/);
  await first.kill('SIGTERM');
  await fill(platform.sql, { seed: 3, entities: 300 });
});
afterAll(() => platform.dispose());

/** A random moment, from the start of a process to well into its work. */
const moment = () =>
  new Promise<null>((resolve) => {
    setTimeout(
      () => {
        resolve(null);
      },
      300 + Math.random() * 1500,
    );
  });

describe('under load, killed at random moments', () => {
  it.each(['publish', 'project'] as const)(
    `a process that runs %s, ${CYCLES} times: nothing lost, nothing twice`,
    async (victim) => {
      const other = platform.start([victim === 'publish' ? 'project' : 'publish']);
      const { changes } = await underLoad(platform, async () => {
        for (let cycle = 0; cycle < CYCLES; cycle++) {
          const process = platform.start([victim]);
          const early = await Promise.race([process.exited, moment()]);
          expect(early, process.stderr().slice(-2000)).toBeNull();
          expect(await process.kill('SIGKILL')).toBe('SIGKILL');
        }
      });
      expect(changes).toBeGreaterThan(5 * CHANGES_PER_SECOND);
      const last = platform.start([victim]);
      await platform.expectEqual(120);
      await last.stop();
      await other.stop();
    },
  );
});
