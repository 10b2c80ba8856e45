/** The initial load's own rules; that nothing is missing in the end is shown by the tests of the whole pipeline. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Loads } from '../../src/core/loads.ts';
import { type Lsn, lsn } from '../../src/core/lsn.ts';
import { REPUBLISH_PREFIX, type RepublishRequest } from '../../src/core/messages.ts';
import { createLoader, type Loader } from '../../src/pipelines/publish/loader.ts';
import { type Database, openDatabase } from '../../src/postgres/client.ts';
import { silent } from '../support/kafka.ts';
import { createSampleDatabase, type SampleDatabase } from '../support/sample-database.ts';
import { testMapping } from '../support/test-mapping.ts';

const ENTITY = 'public.entity';
const { mapping } = testMapping('loader');

let sample: SampleDatabase;
let database: Database;
let asked: RepublishRequest[];
let said: string[];
beforeEach(async () => {
  sample = await createSampleDatabase('loader');
  database = openDatabase(sample.url);
  asked = [];
  said = [];
  await sample.client.query(
    `insert into entity select lpad(i::text, 32, '0')::uuid, 'ttp', '{}', '{}', now(), now() from generate_series(1, 3500) i`,
  );
});
afterEach(async () => {
  await database.close();
  await sample.dispose();
});

const loading = (recorded: Loads = {}): Loader =>
  createLoader({
    mapping: { ...mapping, tables: mapping.tables.filter(({ table }) => table === ENTITY) },
    sql: {
      query(text, values = [], signal) {
        if (values[0] === REPUBLISH_PREFIX) asked.push(JSON.parse(String(values[1])) as RepublishRequest);
        return database.query(text, values, signal);
      },
    },
    recorded,
    skip: false,
    log: { ...silent, info: (...args: readonly unknown[]) => said.push(String(args.at(-1))) },
  });

const idOf = (i: number) => [
  String(i)
    .padStart(32, '0')
    .replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
];
const at = (value: number): Lsn => lsn(BigInt(value));
const ranges = () => asked.map((request) => ('range' in request ? request.range : null));
const until = (check: () => void) => vi.waitFor(check, { timeout: 20_000, interval: 10 });
const askedFor = (count: number) =>
  until(() => {
    expect(asked).toHaveLength(count);
  });

it('asks for two ranges at once; the cursor is behind what is answered and acknowledged, in the order of keys', async () => {
  const stop = new AbortController();
  const loader = loading();
  const running = loader.run(stop.signal);
  const cursor = (acknowledged: number) => loader.loads(at(acknowledged))[ENTITY]?.cursor;
  const answer = (i: number, commitLsn: number, other: Partial<RepublishRequest> = {}) => {
    const request = asked[i];
    if (request === undefined) throw new Error(`no request ${i}`);
    loader.answered({ ...request, ...other }, at(commitLsn));
  };
  await askedFor(2);
  expect(ranges()).toEqual([
    { after: null, upTo: idOf(1000) },
    { after: idOf(1000), upTo: idOf(2000) },
  ]);
  expect(cursor(500)).toBeNull();

  // Another run's answer to the same range is none of ours.
  answer(0, 10, { runId: '00000000-0000-4000-8000-000000000000' });
  expect(cursor(500)).toBeNull();
  answer(1, 20);
  expect(cursor(500)).toBeNull();
  answer(0, 30);
  expect(cursor(30)).toBeNull();
  expect(cursor(31)).toEqual(idOf(2000));

  await askedFor(4);
  expect(ranges()[3]).toEqual({ after: idOf(3000), upTo: null });
  answer(3, 40);
  answer(2, 50);
  await running;
  expect(loader.loads(at(50))[ENTITY]).toMatchObject({ state: 'loading', cursor: idOf(2000), rows: 2000 });
  expect(loader.loads(at(51))[ENTITY]).toMatchObject({ state: 'loaded', rows: 3500 });
});

it('goes on behind what was recorded', async () => {
  const stop = new AbortController();
  const startedAt = new Date().toISOString();
  const begun = { state: 'loading', cursor: idOf(2500), rows: 2500, expected: 3500, startedAt } as const;
  const running = loading({ [ENTITY]: begun }).run(stop.signal);
  await askedFor(2);
  expect(ranges()).toEqual([
    { after: idOf(2500), upTo: idOf(3500) },
    { after: idOf(3500), upTo: null },
  ]);
  stop.abort();
  await running;
});

it('reads nothing before the transactions that are older than it have ended', async () => {
  const stop = new AbortController();
  await sample.client.query('begin');
  await sample.client.query('select pg_current_xact_id()');
  const running = loading().run(stop.signal);
  await until(() => {
    expect(said).toContain('the initial load waits for transactions that are older');
  });
  expect(asked).toEqual([]);
  await sample.client.query('commit');
  await askedFor(2);
  stop.abort();
  await running;
});
