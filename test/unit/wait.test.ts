import { describe, expect, it } from 'vitest';
import type { PartitionRange } from '../../src/kafka/offsets.ts';
import type { PartitionProgress } from '../../src/neo4j/progress.ts';
import { columnEntry } from '../../src/core/source-identity.ts';
import {
  type Recorded,
  requireLoaded,
  waitForAnswers,
  waitForGraph,
  type WaitSources,
  waitUntilLoaded,
} from '../../src/pipelines/wait.ts';
import { testMapping } from '../support/test-mapping.ts';

const { mapping } = testMapping('wait');
const TOPIC = 'wait.public.entity';

const NOTHING: Recorded = {
  loads: {},
  recovering: null,
  recovery: null,
  generations: new Map([[TOPIC, 'first']]),
  askedAgain: null,
  published: {},
};

const LOADED: Recorded['loads'] = Object.fromEntries(
  mapping.tables.map(({ table }) => [
    table,
    { state: 'loaded', cursor: null, rows: 0, expected: 0, startedAt: '' },
  ]),
);

/** Markers stand at 0/100, 0/200 and so on, each published as soon as it is there. */
function sources(more: Partial<WaitSources> | ((emitted: number) => Partial<Recorded>)): {
  readonly sources: WaitSources;
  readonly emitted: () => number;
} {
  let emitted = 0;
  const lsn = () => `0/${emitted}00`;
  const answer = (text: string): object =>
    text.includes('pg_logical_emit_message')
      ? ((emitted += 1), { lsn: lsn() })
      : { ours: true, confirmed_flush: lsn(), lag_bytes: '0', retained_bytes: null, active_pid: 1 };
  return {
    emitted: () => emitted,
    sources: {
      mapping,
      sql: { query: <Row extends object>(text: string) => Promise.resolve([answer(text) as Row]) },
      recorded: () =>
        Promise.resolve(typeof more === 'function' ? { ...NOTHING, ...more(emitted) } : NOTHING),
      topicEnds: () => Promise.resolve([]),
      progress: () => Promise.resolve([]),
      rebuild: () => Promise.resolve(null),
      ...(typeof more === 'function' ? {} : more),
    },
  };
}

it.each<[string, (string | null)[], number]>([
  ['nothing was asked for again', [null], 1],
  ['what was, is before our marker', ['0/FF'], 1],
  ['what was, is behind our marker', ['0/101', '0/101'], 2],
  ['it is again and again', ['0/101', '0/201', '0/2FF'], 3],
])('answers are there behind as many markers as it takes: %s', async (_, askedAgain, markers) => {
  const { sources: of, emitted } = sources((n) => ({ askedAgain: askedAgain[n - 1] ?? null }));
  await waitForAnswers(of, 5_000, new AbortController().signal);
  expect(emitted()).toBe(markers);
});

it.each([
  ['no publisher has ever started', null, false, 'STREAM_STOPPED'],
  ['the slot is gone', NOTHING, false, 'SOURCE_CHANGED'],
  ['this is a standby, which needs none', NOTHING, true, 'POSTGRES_FAILED'],
])('without a slot it says whether %s', async (_, recorded, standby, code) => {
  const { sources: of } = sources({ recorded: () => Promise.resolve(recorded) });
  const source = { in_recovery: standby, timeline: '00000001', current_lsn: '0/100' };
  const sql: WaitSources['sql'] = {
    async query<Row extends object>(text: string) {
      if (text.includes('pg_replication_slots')) return [];
      return text.includes('pg_is_in_recovery') ? [source as Row] : of.sql.query<Row>(text);
    },
  };
  await expect(waitForGraph({ ...of, sql }, 30, new AbortController().signal)).rejects.toMatchObject({
    code,
  });
});

describe('columns whose values no change in the stream has brought', () => {
  const [table] = mapping.tables;
  const entry = (isKey: boolean) => columnEntry(table?.table ?? '', isKey ? 'id' : 'data', isKey);
  const never = new AbortController().signal;
  /** As they are on record, one after the other, and as they are. */
  const asked = (isKey: boolean, recorded: readonly string[], now: string) => {
    const left = [...recorded];
    const { sources: of } = sources({
      recorded: () => {
        const text = (left.length > 1 ? left.shift() : left[0]) ?? '';
        return Promise.resolve({ ...NOTHING, loads: LOADED, published: { [entry(isKey)]: text } });
      },
    });
    const found = [{ name: entry(isKey), published: now }];
    const query = <Row extends object>() => Promise.resolve(found as Row[]);
    return { ...of, sql: { query } };
  };

  it('are waited for', async () => {
    const rewritten = asked(false, ['2/text/1/1'], '2/text/2/2');
    await expect(waitUntilLoaded(rewritten, 30, never)).rejects.toMatchObject({
      code: 'LOADING',
      message: `The graph is still to be loaded again: column data of ${table?.table ?? ''} was replaced, retyped or rewritten.`,
    });
    await waitUntilLoaded(asked(false, ['2/text/1/1'], '2/text/1/2'), 30, never);
  });

  it('are looked at again, for what is recorded comes a little later', async () => {
    await requireLoaded(asked(false, ['2/text/1/1', '2/text/1/1', '2/text/2/2'], '2/text/2/2'), never);
  });

  it('are a gap if they are of the key', async () => {
    await expect(requireLoaded(asked(true, ['1/20/1/1'], '1/20/2/2'), never)).rejects.toMatchObject({
      code: 'SOURCE_CHANGED',
    });
  });
});

describe('a graph that a rebuild has begun', () => {
  type Mark = Awaited<ReturnType<WaitSources['rebuild']>>;
  const building = { state: 'building', startedAt: '2026-11-29T08:00:00.000Z', republish: false } as const;
  const asking = { ...building, republish: true };
  const waiting = async (...marks: readonly [Mark, ...Mark[]]) => {
    const left = [...marks];
    const rebuild = () => Promise.resolve((left.length > 1 ? left.shift() : left[0]) ?? null);
    const { sources: of, emitted } = sources({ rebuild });
    const end = waitForGraph(of, 100, new AbortController().signal);
    return { ended: await end.then(() => 'there', String), markers: emitted() };
  };

  it.each<[string, Mark, RegExp]>([
    [
      'emptying',
      { ...building, state: 'emptying' },
      /The graph is being emptied, by a rebuild that was begun at 2026-11-29T08:00/,
    ],
    ['asking for all rows', asking, /still to be asked for, by a rebuild that was begun at 2026-11-29T08:00/],
  ])('is not there while it is %s', async (_, mark, why) => {
    expect(await waiting(mark)).toEqual({ ended: expect.stringMatching(why) as string, markers: 0 });
  });

  it.each<[string, readonly [Mark, ...Mark[]], number]>([
    ['its progress tells once it is built', [building], 1],
    ['the marker comes behind the last request', [asking, asking, building], 1],
    ['it was proved meanwhile', [building, null], 1],
    ['it was begun behind the marker', [null, asking, asking, building], 2],
    ['it was begun, and all was asked for, behind the marker', [null, building], 2],
  ])('%s', async (_, marks, markers) => {
    expect(await waiting(...marks)).toEqual({ ended: 'there', markers });
  });
});

describe('the graph is there only if its progress fits the topics', () => {
  const row = (next: bigint, more: Partial<PartitionProgress> = {}): PartitionProgress => ({
    topic: TOPIC,
    partition: 0,
    next,
    position: '' as PartitionProgress['position'],
    epoch: 3,
    session: 1,
    owner: null,
    generation: 'first',
    committedMs: null,
    ...more,
  });
  const holds = (low: bigint, end: bigint): PartitionRange => ({ topic: TOPIC, partition: 0, low, end });

  const during = (epoch: number): Recorded => ({
    ...NOTHING,
    recovery: { epoch, finishedAt: null, ranges: [] },
  });
  const waiting = async (
    rows: readonly PartitionProgress[],
    range: PartitionRange,
    recorded: Recorded = NOTHING,
  ): Promise<unknown> => {
    const left = [...rows];
    const { sources: of } = sources({
      recorded: () => Promise.resolve(recorded),
      progress: () => Promise.resolve([(left.length > 1 ? left.shift() : left[0]) ?? row(0n)]),
      topicEnds: () => Promise.resolve([range]),
    });
    try {
      await waitForGraph(of, 30, new AbortController().signal);
      return 'there';
    } catch (error) {
      return error;
    }
  };
  const remade = row(9n, { generation: 'of old' });

  it.each<[string, readonly PartitionProgress[], PartitionRange, unknown]>([
    ['at the end', [row(9n)], holds(0n, 9n), 'there'],
    ['beyond what the end was, for a projector at work', [row(9n), row(12n)], holds(0n, 10n), 'there'],
    ['behind', [row(8n)], holds(0n, 9n), { code: 'TIMED_OUT' }],
    ['in a topic of the name that is no more', [remade], holds(0n, 9n), { code: 'PROGRESS_GAP' }],
    ['beyond the end', [row(10n)], holds(0n, 9n), { code: 'PROGRESS_GAP' }],
    ['before the beginning', [row(3n)], holds(4n, 9n), { code: 'PROGRESS_GAP' }],
  ])('%s', async (_, rows, range, expected) => {
    const found = await waiting(rows, range);
    if (typeof expected === 'string') expect(found).toBe(expected);
    else expect(found).toMatchObject(expected as object);
  });

  it.each([
    ['made again', remade],
    ['shorter', row(10n)],
  ])('is waited for while a recovery has still to be taken up: %s', async (_, before) => {
    expect(await waiting([before], holds(0n, 9n), during(4))).toMatchObject({
      code: 'TIMED_OUT',
      message: expect.stringMatching(/no projector has taken up/) as string,
    });
    expect(await waiting([before, row(9n)], holds(0n, 9n), during(4))).toBe('there');
    // What was written since it began no recovery mends.
    expect(await waiting([before], holds(0n, 9n), during(3))).toMatchObject({ code: 'PROGRESS_GAP' });
  });
});
