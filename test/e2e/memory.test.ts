/** What the publisher takes for one large transaction: bounded, whatever its size. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPlatform, eventually, type Platform } from '../support/platform.ts';
import { soak } from '../support/soak.ts';

const ROWS = soak ? 1_000_000 : 100_000;
const MAX_RSS_MB = 512;

let platform: Platform;
beforeAll(async () => {
  platform = await createPlatform('memory');
});
afterAll(() => platform.dispose());

it(
  `one transaction of ${ROWS} rows passes with less than ${MAX_RSS_MB} MB of memory`,
  { timeout: 900_000 },
  async () => {
    const publisher = platform.start(['publish']);
    await publisher.logged(/streaming/);
    await platform.sql.query(
      `insert into entity select gen_random_uuid(), 'ttp', jsonb_build_object('title', 'bulk ' || i, 'text', repeat(md5(i::text), 15)), '{}', now(), now()
         from generate_series(1, $1::int) i`,
      [ROWS],
    );
    const { rows } = await platform.sql.query<{ lsn: string }>(
      'select pg_current_wal_insert_lsn()::text as lsn',
    );
    await eventually(
      'the slot has passed it',
      async () => {
        const passed = await platform.sql.query(
          'select from pg_replication_slots where slot_name = $1 and confirmed_flush_lsn >= $2::pg_lsn',
          [platform.name, rows[0]?.lsn],
        );
        return passed.rows.length === 1;
      },
      600_000,
    );
    const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${publisher.child.pid}/status`, 'utf8'));
    const peakMb = Number(peak?.[1]) / 1024;
    console.info(`peak of the publisher: ${Math.round(peakMb)} MB`);
    expect(peakMb).toBeGreaterThan(1);
    expect(peakMb).toBeLessThan(MAX_RSS_MB);
    await publisher.stop();
  },
);
