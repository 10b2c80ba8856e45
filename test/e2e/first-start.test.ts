/** First starts that are killed between the control record, topics, publication and slot. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPlatform, type Platform } from '../support/platform.ts';
import { soak } from '../support/soak.ts';

const STARTS = soak ? 50 : 6;

let platform: Platform;
beforeAll(async () => {
  platform = await createPlatform('start');
});
afterAll(() => platform.dispose());

it(`${STARTS} starts killed at random moments, then one that goes on: no false gap, nothing missing`, async () => {
  for (let start = 0; start < STARTS; start++) {
    const process = platform.start(['publish']);
    const early = await Promise.race([
      process.exited,
      new Promise<null>((resolve) => {
        setTimeout(
          () => {
            resolve(null);
          },
          200 + Math.random() * 1300,
        );
      }),
    ]);
    expect(early, process.stderr().slice(-2000)).toBeNull();
    await process.kill('SIGKILL');
  }
  const replicator = platform.start(['replicate']);
  await replicator.logged(/streaming/);
  await platform.sql.query(
    `insert into entity select gen_random_uuid(), 'ttp', '{}', '{}', now(), now() from generate_series(1, 100)`,
  );
  await platform.expectEqual();
  await replicator.stop();
});
