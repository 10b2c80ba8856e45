import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTransactions } from '../../src/postgres/transactions.ts';
import { createSource, type Source } from '../support/postgres-source.ts';

const ROWS = 1_000_000;
const HIGH_WATER_BYTES = 4 * 1024 * 1024;
/** Queue, the reader's chunk, and what V8 has not yet collected of them. */
const GROWTH_BYTES = 200 * 1024 * 1024;

let source: Source;
beforeAll(async () => {
  source = await createSource('large', 'create table item (id int primary key, note text)');
});
afterAll(() => source.dispose());

it('a transaction of a million rows passes in flat memory, however slow its reader', async () => {
  const stream = await source.open({ highWaterBytes: HIGH_WATER_BYTES });
  await source.client.query(`insert into item select i, md5(i::text) from generate_series(1, ${ROWS}) i`);
  const transactions = createTransactions({ epoch: 1, isMapped: () => true });
  const before = process.memoryUsage().rss;
  let peak = 0;
  let rows = 0;
  let sum = 0;
  let largestChunk = 0;
  reading: for await (const events of stream) {
    largestChunk = Math.max(largestChunk, events.length);
    for (const event of events) {
      const output = transactions.push(event);
      if (output?.op === 'c') {
        rows += 1;
        sum += Number(output.after?.[0]);
      }
      if (output?.op === 'commit') break reading;
    }
    peak = Math.max(peak, process.memoryUsage().rss);
    // Slower than PostgreSQL: the queue is full again before the next pull.
    for (let turn = 0; turn < 100; turn += 1) await nextTurn();
  }
  await stream.close();
  expect([rows, sum]).toEqual([ROWS, (ROWS * (ROWS + 1)) / 2]);
  expect(peak - before).toBeLessThan(GROWTH_BYTES);
  expect(largestChunk).toBeLessThan(HIGH_WATER_BYTES / 200);
});
