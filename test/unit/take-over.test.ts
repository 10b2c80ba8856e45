/** What a session records before it reads anything: the next one may have nothing else to go by (I6). */
import { expect, it } from 'vitest';
import { lsn } from '../../src/core/lsn.ts';
import type { SourceDecision } from '../../src/core/source-identity.ts';
import {
  type ControlRecord,
  type ControlState,
  type ControlWriter,
  NO_CONTROL,
  type SourceRecord,
} from '../../src/kafka/control.ts';
import type { Prepared } from '../../src/pipelines/publish/prepare.ts';
import { takeOver } from '../../src/pipelines/publish/take-over.ts';
import { testMapping } from '../support/test-mapping.ts';

const recorded: SourceRecord = {
  session: 5,
  epoch: 3,
  systemIdentifier: '7000',
  timeline: 1,
  database: 'platform',
  slot: 'eiq_graph',
  acknowledged: '0/200',
  lastCommit: { lsn: '0/180', xid: 42 },
  loads: {},
  published: { 'public.entity': '16390/all', 'public.past': '16391/all' },
  askedAgain: null,
  refusedRequests: 0,
  xids: [],
  ends: {},
  at: '2026-11-24T00:00:00.000Z',
};

async function begin(
  timeline: number,
  overlap: Extract<SourceDecision, { kind: 'continue' }>['overlap'],
  state: Partial<ControlState> = {},
  { written = [] as ControlRecord[], requireOurs = () => Promise.resolve() } = {},
) {
  const control: Pick<ControlWriter, 'write' | 'forgetOldSessions'> = {
    write: (records) => {
      written.push(...records);
      return Promise.resolve();
    },
    forgetOldSessions: () => Promise.resolve(),
  };
  const prepared: Prepared = {
    state: { ...NO_CONTROL, source: recorded, session: 5, ...state },
    observed: {
      systemIdentifier: '7000',
      timeline,
      database: 'platform',
      currentLsn: lsn(0x1f0n),
      recordedTimelineEnd: timeline === 1 ? null : lsn(0x190n),
      slot: { confirmedFlush: lsn(0x150n), invalidation: null, synced: true },
      published: {},
    },
    decision: { kind: 'continue', overlap },
    loads: {},
    published: {},
    topics: new Map(),
  };
  const { mapping } = testMapping('unit');
  const context = { mapping, control: control as ControlWriter, requireOurs };
  const session = await takeOver(prepared, context, {
    xids: () => [],
    ends: () => ({ entity: ['1000', '0'] }),
    loads: () => ({}),
    published: () => ({ 'public.entity': '16390/all' }),
    requests: () => ({ askedAgain: null, refusedRequests: 0 }),
  });
  await session.begin();
  return { session, written };
}

it('nothing, if the slot became another’s while it was paused', async () => {
  const written: ControlRecord[] = [];
  const requireOurs = () => Promise.reject(new Error('another is at work'));
  await expect(begin(1, null, {}, { written, requireOurs })).rejects.toThrow('another is at work');
  expect(written).toEqual([]);
});

it('where the last one was', async () => {
  const { written } = await begin(1, null);
  expect(written).toMatchObject([
    { kind: 'session' },
    { kind: 'source', timeline: 1, acknowledged: '0/200', lastCommit: { lsn: '0/180', xid: 42 } },
  ]);
});

it('after a promotion, nothing that the new timeline has not reached', async () => {
  const { written } = await begin(2, { lsn: lsn(0x180n), xid: 42 });
  expect(written[1]).toMatchObject({
    timeline: 2,
    acknowledged: '0/150',
    lastCommit: { lsn: '0/180', xid: 42 },
  });
});

it('what the topics have beyond the record, until it has come again', async () => {
  const { written, session } = await begin(1, { lsn: lsn(0x1a0n), xid: 44 });
  expect(written[1]).toMatchObject({ acknowledged: '0/200', lastCommit: { lsn: '0/1A0', xid: 44 } });
  expect(session.overlap).toEqual({ lsn: 0x1a0n, xid: 44 });
});

it('a gap that the stream shows, with all that stood there before', async () => {
  const { written, session } = await begin(1, { lsn: lsn(0x180n), xid: 42 });
  await session.recordGap('it is not there');
  const { at, ...before } = written[1] as Extract<ControlRecord, { kind: 'source' }>;
  expect(at).not.toBe('');
  expect(written[2]).toMatchObject({ ...before, gap: 'it is not there' });
  // What was on its way to be acknowledged comes after it.
  await session.record({ lsn: lsn(0x210n), lastCommit: null });
  expect(written[3]).toMatchObject({ acknowledged: '0/210', gap: 'it is not there' });
});

it('how far the topics are written, with each acknowledgement', async () => {
  const { written, session } = await begin(1, null);
  await session.record({ lsn: lsn(0x210n), lastCommit: null });
  for (const record of written.slice(1))
    expect(record).toMatchObject({ kind: 'source', ends: { entity: ['1000', '0'] } });
});

it('how the tables are published, and of one that is not mapped any more that it is not', async () => {
  const { written } = await begin(1, null);
  expect(written[1]).toMatchObject({
    published: { 'public.entity': '16390/all', 'public.past': 'not mapped' },
  });
});

it.each([
  ['is the first one of the epoch of a recovery', null, null, true],
  ['is another one of it', '0/200', null, false],
  ['is after one that is finished', null, '2026-11-24T00:00:00.000Z', false],
])('%s: whether it opens the epoch', async (_, acknowledged, finishedAt, opensEpoch) => {
  const recovery = { epoch: 3, reasons: [], previousSources: [], beganAt: '', finishedAt, ranges: [] };
  const { session } = await begin(1, null, { source: { ...recorded, acknowledged }, recovery });
  expect(session.opensEpoch).toBe(opensEpoch);
});
