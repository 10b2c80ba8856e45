/** What status says, and what of it is healthy, from what servers, topics and graph answer. */
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/core/errors.ts';
import type { TableLoad } from '../../src/core/loads.ts';
import { lsn } from '../../src/core/lsn.ts';
import { position } from '../../src/core/position.ts';
import {
  type ControlState,
  NO_CONTROL,
  type SourceRecord,
  type VerifiedRecord,
} from '../../src/kafka/control.ts';
import type { PartitionProgress } from '../../src/neo4j/progress.ts';
import { tableDigest } from '../../src/neo4j/rebuild-mark.ts';
import { formatStatus, readStatus, type Status, type StatusSources } from '../../src/ops/status.ts';
import type { SlotInfo } from '../../src/postgres/slot.ts';
import type { SourceInfo } from '../../src/postgres/source.ts';
import { testMapping } from '../support/test-mapping.ts';

const { mapping } = testMapping('status');
const { topic, table } = testMapping('status').table('public.entity');
const AT = '2026-11-24T08:00:00.000Z';

const slot: SlotInfo = {
  activePid: 7,
  confirmedFlush: lsn(0x200n),
  lagBytes: 0n,
  retainedBytes: 0n,
  walStatus: 'reserved',
  invalidation: null,
  synced: false,
};
const recorded: SourceRecord = {
  session: 5,
  epoch: 3,
  systemIdentifier: '7000',
  timeline: 1,
  database: 'platform',
  slot: mapping.source.slot,
  acknowledged: '0/200',
  lastCommit: null,
  loads: {},
  published: {},
  askedAgain: null,
  refusedRequests: 0,
  xids: [],
  ends: {},
  at: AT,
};
const verified = {
  ...{ table, graph: 'ours', epoch: 3, lsn: '0/180', at: AT },
  mapping: tableDigest(mapping, testMapping('status').table('public.entity')),
};
const verifiedAs = (of: VerifiedRecord) => new Map([['ours', new Map([[table, of]])]]);
const control: ControlState = {
  ...NO_CONTROL,
  source: recorded,
  topics: new Map([[topic, { topic, generation: 'first', createdAt: AT }]]),
  verified: verifiedAs(verified),
};
const row: PartitionProgress = {
  topic,
  partition: 0,
  next: 9n,
  position: position(3, lsn(1n), lsn(1n)),
  epoch: 3,
  session: 5,
  owner: 'x',
  generation: 'first',
  committedMs: 1,
};
const graph = {
  uuid: 'ours',
  proved: position(3, lsn(0x180n), lsn(0x180n)),
  progress: [row],
  rebuild: null,
  replay: [],
};

interface Answers {
  readonly slot?: Partial<SlotInfo> | null;
  readonly standby?: boolean;
  readonly control?: Partial<ControlState>;
  readonly graph?: Partial<Awaited<ReturnType<StatusSources['graph']>>>;
  readonly projector?: boolean | null;
  readonly gaps?: readonly string[] | null;
}

async function statusOf(answers: Answers = {}, nowMs = 2000) {
  const { projector = true, gaps = [] } = answers;
  const orDown = <T>(answer: T | null) =>
    answer === null
      ? Promise.reject(new AppError('POSTGRES_UNREACHABLE', 'PostgreSQL is away.'))
      : Promise.resolve(answer);
  const status = await readStatus(
    {
      mapping,
      source: () =>
        Promise.resolve({
          info: { inRecovery: answers.standby ?? false } as SourceInfo,
          slot: answers.slot === null ? null : { ...slot, ...answers.slot },
        }),
      control: () => Promise.resolve({ ...control, ...answers.control }),
      topics: () => Promise.resolve({ ends: [{ topic, partition: 0, low: 0n, end: 9n }], deadLetters: 0 }),
      graph: () => Promise.resolve({ ...graph, ...answers.graph }),
      projector: () => orDown(projector),
      gaps: () => orDown(gaps),
    },
    nowMs,
  );
  const of = status.tables.find((one) => one.table === table);
  return { status, of, text: formatStatus(status) };
}

it('of a stream that is at work and a graph that is proved', async () => {
  const { status, of, text } = await statusOf();
  expect(status).toMatchObject({
    healthy: true,
    projectorAtWork: true,
    gaps: [],
    gapsError: null,
    lagSeconds: 0,
  } satisfies Partial<Status>);
  expect(text).toMatch(/^projector at work$/m);
  expect(of).toMatchObject({ recordsBehind: 0, verified: { through: '0/180', at: AT } });
  expect(text).toMatch(/bytes of WAL kept: reserved$/m);
  expect(text).toMatch(new RegExp(`0 records behind.*, verified through 0/180 at ${AT}$`, 'm'));
});

describe('verified is lowered', () => {
  const earlier = position(3, lsn(0x80n), lsn(0x80n));
  it.each<[string, Answers]>([
    ['the source was set back, or another gap was found', { gaps: ['the WAL ends before the recorded'] }],
    ['whether there is a gap cannot be told', { gaps: null }],
    ['a rebuild is not finished', { graph: { rebuild: { state: 'building', startedAt: AT } } }],
    ['the graph was put back to an earlier state, or is an older dump', { graph: { proved: earlier } }],
    ['the graph was put back to before any proof', { graph: { proved: null } }],
    ['it is another graph', { graph: { uuid: 'theirs' } }],
    [
      'the table was mapped otherwise when it was proved',
      { control: { verified: verifiedAs({ ...verified, mapping: 'other' }) } },
    ],
    [
      'how it was mapped then is not known',
      { control: { verified: verifiedAs({ ...verified, mapping: undefined }) } },
    ],
    ['another epoch began', { control: { source: { ...recorded, epoch: 4 } } }],
  ])('%s', async (_, answers) => {
    const { of, text } = await statusOf(answers);
    expect(of?.verified).toBeNull();
    expect(text).not.toMatch(/verified through/);
  });
});

describe('is not healthy, and says why', () => {
  it.each<[string, Answers, RegExp]>([
    [
      'a gap',
      { gaps: ['the slot no longer exists'] },
      /^GAP {7}the slot no longer exists: run graph recover$/m,
    ],
    ['gaps cannot be told', { gaps: null }, /^gaps {6}unknown: PostgreSQL is away\. Check /m],
    [
      'no projector, though nothing is behind',
      { projector: false },
      /^projector NOT RUNNING: no projector is running$/m,
    ],
    ['a projector cannot be told', { projector: null }, /^projector unknown$/m],
    ['WAL is about to go', { slot: { walStatus: 'unreserved' } }, /WAL kept: UNRESERVED/],
    ['WAL is gone', { slot: { walStatus: 'lost' } }, /WAL kept: LOST/],
  ])('%s', async (_, answers, said) => {
    const { status, text } = await statusOf(answers);
    expect(status.healthy).toBe(false);
    expect(text).toMatch(said);
  });
});

it('the slot of a standby is not the one that is read, nor missing', async () => {
  const { status, text } = await statusOf({ standby: true, slot: null });
  expect(status).toMatchObject({ healthy: false, slot: null } satisfies Partial<Status>);
  expect(text).not.toMatch(/MISSING/);
  expect((await statusOf({ slot: null })).text).toMatch(/^slot .* MISSING$/m);
});

it.each<[string, Partial<PartitionProgress>]>([
  ['beyond its end', { next: 10n }],
  ['of another one of the name', { generation: 'of old' }],
])('progress that does not fit its topic is not 0 records behind: %s', async (_, more) => {
  const { status, of, text } = await statusOf({ graph: { progress: [{ ...row, ...more }] } });
  expect(of?.recordsBehind).toBeNull();
  expect(status.lagSeconds).toBeNull();
  expect(text).toMatch(new RegExp(`^table +${table} +unknown`, 'm'));
});

it('rows that were left out of the load are named until a proof shows that they are there', async () => {
  const load = { state: 'skipped', cursor: null, rows: 0, expected: 0, startedAt: AT } as const;
  const source = { ...recorded, loads: { [table]: load } };
  const line = (text: string) => text.split('\n').find((one) => one.includes(`${table} `));
  expect(line((await statusOf({ control: { source }, graph: { proved: null } })).text)).toMatch(/NOT LOADED/);
  expect(line((await statusOf({ control: { source } })).text)).not.toMatch(/NOT LOADED/);
});

it.each<[string, Partial<TableLoad>, string]>([
  ['begun', {}, ', LOADING 0 of about 40000 rows (0 %), 0/s, ? s to go'],
  ['half way', { rows: 25_000 }, ', LOADING 25000 of about 40000 rows (62 %), 2500/s, 6 s to go'],
  [
    'beyond what was expected',
    { rows: 50_000 },
    ', LOADING 50000 of about 50000 rows (100 %), 5000/s, 0 s to go',
  ],
])('a load says how far it is, in rows, per cent and time: %s', async (_, so, said) => {
  const load = { state: 'loading', cursor: null, rows: 0, expected: 40_000, startedAt: AT, ...so } as const;
  const source = { ...recorded, loads: { [table]: load } };
  const { text } = await statusOf({ control: { source } }, Date.parse(AT) + 10_000);
  expect(text).toContain(said);
});
