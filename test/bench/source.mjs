/** From PostgreSQL: decoding alone, and to Kafka. */
import { performance } from 'node:perf_hooks';
import pg from 'pg';
import { openStream } from '../../dist/postgres/stream.js';
import { createTransactions } from '../../dist/postgres/transactions.js';
import { cpuSeconds, createPlatform, spent } from './platform.mjs';
import { insertRows, MARK } from './rows.mjs';

/** The same backlog of the same slot, read again and again since it is never acknowledged, by this process. */
export async function decode(bench) {
  const rows = bench.rows(200_000);
  const platform = await createPlatform(bench, 'bench_decode');
  await (
    await platform.start('publish --no-initial-load', platform.connectors('decode'), 'streaming')
  ).stop(); // makes the slot
  await insertRows(platform.sql, rows, 100);
  const { name: slot, url: connectionString } = platform;

  const measured = (read) => async () => {
    const before = cpuSeconds(bench.stack, process.pid);
    const startedAt = performance.now();
    const count = await read();
    const seconds = (performance.now() - startedAt) / 1000;
    if (count !== rows) throw new Error(`${count} rows were read instead of ${rows}`);
    return { count, seconds, cpu: spent(before, cpuSeconds(bench.stack, process.pid)) };
  };

  async function ours() {
    const stream = await openStream(
      { connectionString, slot, publication: slot },
      new globalThis.AbortController().signal,
    );
    const transactions = createTransactions({ epoch: 1, isMapped: () => true });
    let count = 0;
    try {
      for await (const events of stream)
        for (const event of events) {
          const change = transactions.push(event);
          if (change?.op === 'c') count += 1;
          if (change?.op === 'm' && change.prefix === MARK) return count;
        }
    } finally {
      await stream.close();
    }
    throw new Error('the stream ended before the mark');
  }

  /** Counts the messages of the connection that begin like an insert, and looks into nothing else. */
  async function countOnly() {
    const client = new pg.Client({ connectionString, replication: 'database' });
    client.on('error', () => undefined); // its connection is cut while the server still sends
    await client.connect();
    const start = `START_REPLICATION SLOT ${slot} LOGICAL 0/0 (proto_version '1', publication_names '${slot}', messages 'true')`;
    const counted = new Promise((resolve) => {
      let count = 0;
      client.connection.on('copyData', ({ chunk }) => {
        if (chunk[0] !== 0x77) return;
        if (chunk[25] === 0x49) count += 1;
        else if (chunk[25] === 0x4d) resolve(count);
      });
    });
    client.query(start).catch(() => undefined); // never answered: it ends with the connection
    const count = await counted;
    client.connection.stream.destroy();
    return count;
  }

  return [
    { name: 'decode', unit: 'rows/s', run: measured(ours) },
    { name: 'count-only reader', unit: 'rows/s', run: measured(countOnly), comparedWith: 'decode' },
  ];
}

/** A backlog written while no publisher runs: from `streaming` until the slot has confirmed what came after it. */
export async function publish(bench) {
  const platform = await createPlatform(bench, 'bench_publish');
  const connectors = platform.connectors('publish');
  await (await platform.start('publish --no-initial-load', connectors, 'streaming')).stop(); // makes slot and topics

  const backlog = (rows, perTransaction) => async () => {
    const lsn = await insertRows(platform.sql, rows, perTransaction);
    const publisher = await platform.start('publish', connectors, 'streaming');
    const before = cpuSeconds(bench.stack, publisher.pid);
    const seconds = ((await platform.published(lsn)) - publisher.startedAt) / 1000;
    const cpu = spent(before, cpuSeconds(bench.stack, publisher.pid));
    await publisher.stop();
    return { count: rows, seconds, cpu };
  };
  return [
    { name: 'publish, 100 rows/transaction', unit: 'rows/s', run: backlog(bench.rows(200_000), 100) },
    { name: 'publish, 1 row/transaction', unit: 'rows/s', run: backlog(bench.rows(50_000), 1) },
  ];
}
