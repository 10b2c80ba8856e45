/** Requests for 1,000 rows each, one after the other: how fast they are answered, and how long each holds up the stream. */
import { performance } from 'node:perf_hooks';
import { cpuSeconds, createPlatform, spent } from './platform.mjs';
import { insertRows } from './rows.mjs';

const KEYS = 1000;

export async function republish(bench) {
  const rows = bench.rows(100_000);
  const platform = await createPlatform(bench, 'bench_republish');
  await insertRows(platform.sql, rows, 10_000);
  await platform.sql.query('vacuum analyze entity');
  const { rows: found } = await platform.sql.query('select id::text from entity order by random()');
  const ids = found.map(({ id }) => id);
  const connectors = platform.connectors('republish');
  const env = { LOG_LEVEL: 'debug' };
  const publisher = await platform.start('publish --no-initial-load', connectors, 'streaming', env);
  bench.closers.push(publisher.stop);

  async function run() {
    const before = cpuSeconds(bench.stack, publisher.pid);
    const logged = publisher.lines.length;
    const startedAt = performance.now();
    for (let i = 0; i < rows; i += KEYS) {
      const keys = ids.slice(i, i + KEYS).map((id) => [id]);
      const request = { v: 1, table: 'public.entity', keys, runId: 'bench', reason: 'bench' };
      const emitted = await platform.sql.query(
        `select pg_logical_emit_message(true, 'graph.republish', $1::text) as lsn`,
        [JSON.stringify(request)],
      );
      await platform.published(emitted.rows[0].lsn);
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const cpu = spent(before, cpuSeconds(bench.stack, publisher.pid));
    const answers = publisher.lines
      .slice(logged)
      .map((line) => JSON.parse(line))
      .filter(({ msg }) => msg === 'republished');
    if (answers.some((answer) => answer.rows !== KEYS) || answers.length !== rows / KEYS)
      throw new Error('a request was not answered whole');
    return { count: rows, seconds, cpu, heldUp: answers.map(({ ms }) => ms) };
  }
  return [{ name: `republish, ${KEYS} keys a request`, unit: 'rows/s', run }];
}
