import { describe, expect, it } from 'vitest';
import { parseLsn } from '../../../src/core/lsn.ts';
import {
  changedPublication,
  columnEntry,
  decideSource,
  unmappedTables,
  type ObservedSource,
  type RecordedSource,
  rewrittenColumns,
} from '../../../src/core/source-identity.ts';

const recorded: RecordedSource = {
  epoch: 3,
  systemIdentifier: '7000',
  timeline: 1,
  database: 'platform',
  slot: 'eiq_graph',
  acknowledged: parseLsn('0/200'),
  lastCommit: { lsn: parseLsn('0/180'), xid: 42 },
  published: { 'public.entity': '16390/all/16401', 'public.gone': '16391/all/16402', publication: '740' },
};
const slot = { confirmedFlush: parseLsn('0/200'), invalidation: null, synced: false };
const observed: ObservedSource = {
  systemIdentifier: '7000',
  timeline: 1,
  database: 'platform',
  currentLsn: parseLsn('0/900'),
  recordedTimelineEnd: null,
  slot,
  published: { 'public.entity': '16390/all/16401', 'public.added': '16392/all/16403', publication: '740' },
};

describe('the source is', () => {
  it('new when there is no slot, no record and no topic', () => {
    expect(decideSource(null, { ...observed, slot: null }, false)).toEqual({ kind: 'first-start' });
  });

  it('still new when a first start died before its slot was recorded', () => {
    expect(decideSource({ ...recorded, acknowledged: null }, observed, true)).toEqual({
      kind: 'first-start',
    });
  });

  it('the same when nothing changed, with nothing to be replayed', () => {
    expect(decideSource(recorded, observed, true)).toEqual({ kind: 'continue', overlap: null });
  });

  it('the same when the slot lags behind the record, if the last commit comes again', () => {
    const behind = { ...observed, slot: { ...slot, confirmedFlush: parseLsn('0/100') } };
    expect(decideSource(recorded, behind, true)).toEqual({ kind: 'continue', overlap: recorded.lastCommit });
  });

  it.each<[string, RecordedSource | null, Partial<ObservedSource>, RegExp]>([
    ['another cluster', recorded, { systemIdentifier: '7001' }, /system identifier/],
    ['another database', recorded, { database: 'other' }, /database/],
    ['a lost slot', recorded, { slot: null }, /no longer exists/],
    ['an invalidated slot', recorded, { slot: { ...slot, invalidation: 'wal_removed' } }, /wal_removed/],
    [
      'a slot that was invalidated before a first start recorded it',
      { ...recorded, acknowledged: null },
      { slot: { ...slot, invalidation: 'wal_removed' } },
      /wal_removed/,
    ],
    ['another timeline', recorded, { timeline: 2 }, /timeline/],
    ['WAL that ends before the record', recorded, { currentLsn: parseLsn('0/1FF') }, /ends at 0\/1FF/],
    [
      'a slot ahead of the record',
      recorded,
      { slot: { ...slot, confirmedFlush: parseLsn('0/201') } },
      /ahead/,
    ],
    [
      'a table that is published otherwise',
      recorded,
      { published: { ...observed.published, 'public.entity': '16390/all' } },
      /^public\.entity: not published as was recorded/,
    ],
    [
      'a publication that was altered',
      recorded,
      { published: { ...observed.published, publication: '741' } },
      /^the publication was altered/,
    ],
    ['a publication that is gone', recorded, { published: {} }, /^the publication no longer exists/],
    [
      'what a session found in the stream',
      { ...recorded, gap: 'it was not there' },
      {},
      /^it was not there$/,
    ],
    ['a slot without a record', null, {}, /no record/],
    ['topics without slot and record', null, { slot: null }, /topics exist/],
  ])('a gap: %s', (_, record, change, reason) => {
    const decision = decideSource(record, { ...observed, ...change }, true);
    expect(decision.kind).toBe('gap');
    expect(decision).toHaveProperty('reason', expect.stringMatching(reason));
  });

  const promoted = {
    ...observed,
    timeline: 2,
    recordedTimelineEnd: parseLsn('0/190'),
    slot: { ...slot, confirmedFlush: parseLsn('0/150'), synced: true },
  };

  it('the same on a new timeline with a synced slot, if it has the last commit', () => {
    expect(decideSource(recorded, promoted, true)).toEqual({
      kind: 'continue',
      overlap: recorded.lastCommit,
    });
  });

  it('the same if only idle positions were acknowledged beyond the promotion, even where the WAL is shorter', () => {
    const short = { ...promoted, currentLsn: parseLsn('0/1F0') };
    expect(decideSource(recorded, short, true).kind).toBe('continue');
  });

  it.each<[string, Partial<ObservedSource>, RegExp]>([
    ['without a synced slot', { slot: { ...promoted.slot, synced: false } }, /without a synced slot/],
    ['without a slot', { slot: null }, /no longer exists/],
    [
      'on a timeline that does not descend from ours',
      { recordedTimelineEnd: null },
      /no ancestor of timeline 2/,
    ],
    ['before the last commit', { recordedTimelineEnd: parseLsn('0/17F') }, /at 0\/17F, before .* at 0\/180$/],
    ['at the last commit', { recordedTimelineEnd: parseLsn('0/180') }, /at 0\/180, before .* at 0\/180$/],
    [
      'with a slot ahead of the record',
      { slot: { ...promoted.slot, confirmedFlush: parseLsn('0/201') } },
      /ahead/,
    ],
  ])('a gap: promoted %s', (_, change, reason) => {
    const decision = decideSource(recorded, { ...promoted, ...change }, true);
    expect(decision).toEqual({ kind: 'gap', reason: expect.stringMatching(reason) as string });
  });
});

it('a table that is not mapped any more is recorded as such, and is a gap once it is back', () => {
  const all = {
    a: '1/all/7',
    b: '2/all/8',
    [columnEntry('b', 'kind', false)]: '2/25/7/9',
    publication: '740',
  };
  const without = { a: '1/all/7', publication: '740' };
  expect(changedPublication(all, without)).toBeNull();
  const unmapped = unmappedTables(all, [{ table: 'a' }]);
  expect(unmapped).toEqual({ b: 'not mapped' });
  const kept = { ...without, ...unmapped };
  expect(unmappedTables(kept, [{ table: 'a' }])).toEqual(unmapped);
  expect(changedPublication(kept, without)).toBeNull();
  const back = /^b: was not mapped for a while/;
  expect(changedPublication(kept, all)).toMatch(back);
  // After a recovery that did not compare it.
  const begun = { ...recorded, acknowledged: null, published: unmapped };
  expect(decideSource(begun, { ...observed, published: without }, true).kind).toBe('first-start');
  expect(decideSource(begun, { ...observed, published: all }, true)).toEqual({
    kind: 'gap',
    reason: expect.stringMatching(back) as string,
  });
  expect(unmappedTables(kept, [{ table: 'a' }, { table: 'b' }])).toEqual({});
});

it('a table that is absent is a gap', () => {
  expect(changedPublication({ b: '1/all/8' }, { b: 'absent' })).toMatch(/^b: not published/);
});

describe('a mapped column', () => {
  const tables = [
    {
      table: 'public.entity',
      columns: new Map([
        ['id', 'uuid'],
        ['kind', 'any'],
      ]),
    },
  ];
  const kind = columnEntry('public.entity', 'kind', false);
  const id = columnEntry('public.entity', 'id', true);

  it.each<[string, string | undefined, string | undefined, boolean]>([
    ['as it was', '2/text/740/16390', '2/text/740/16390', false],
    ['in another place', '2/text/740/16390', '7/text/740/16390', true],
    ['of another type', '2/text/740/16390', '2/20/740/16390', true],
    ['of an enum with another value', '2/16400,1=7,2=7/740/1', '2/16400,1=7,2=9/740/1', true],
    ['of an enum with one value more', '2/16400,1=7/740/1', '2/16400,1=7,2=9/740/1', false],
    ['rewritten', '2/text/740/16390', '2/text/741/16391', true],
    ['described anew', '2/text/740/16390', '2/text/741/16390', false],
    ['of a table that was written anew', '2/text/740/16390', '2/text/740/16391', false],
    ['that was not mapped', undefined, '2/text/740/16390', false],
    ['that is not there, or not mapped any more', '2/text/740/16390', undefined, false],
  ])('%s: %j, then %j', (_, before, now, rewritten) => {
    const of = (entry: string, text: string | undefined) => (text === undefined ? {} : { [entry]: text });
    const found = rewrittenColumns(of(kind, before), of(kind, now), tables);
    expect(found).toEqual(rewritten ? [{ table: 'public.entity', column: 'kind' }] : []);
    expect(changedPublication(of(kind, before), of(kind, now))).toBeNull();
    const gap = changedPublication(of(id, before), of(id, now));
    if (rewritten) expect(gap).toMatch(/^public\.entity\.id: a key that was replaced, retyped or rewritten/);
    else expect(gap).toBeNull();
    expect(rewrittenColumns(of(id, before), of(id, now), tables)).toEqual([]);
  });
});
