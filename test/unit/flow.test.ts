/** When the flow acknowledges: not before history is joined (I6), nor before what has to wait is asked for again. */
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { isAppError } from '../../src/core/errors.ts';
import { formatLsn, lsn } from '../../src/core/lsn.ts';
import type { Position } from '../../src/core/position.ts';
import { type FlowOptions, runFlow } from '../../src/pipelines/publish/flow.ts';
import type { PgoutputMessage } from '../../src/postgres/pgoutput.ts';
import type { StreamEvent } from '../../src/postgres/stream.ts';
import { createTransactions } from '../../src/postgres/transactions.ts';

const at = (value: number) => lsn(BigInt(value));
const event = (own: number, message: PgoutputMessage): StreamEvent => ({
  type: 'message',
  lsn: at(own),
  message,
  bytes: 0,
});

/** A transaction with one record, whose commit record is at `commitLsn` and eight bytes long. */
const transaction = (commitLsn: number, xid: number): StreamEvent[] => [
  event(commitLsn - 8, { kind: 'begin', commitLsn: at(commitLsn), commitTimeMicros: 0n, xid }),
  event(commitLsn - 8, { kind: 'message', transactional: true, prefix: '', content: Buffer.alloc(0) }),
  event(commitLsn, {
    kind: 'commit',
    commitLsn: at(commitLsn),
    endLsn: at(commitLsn + 8),
    commitTimeMicros: 0n,
  }),
];
const RECORD = { topic: 't', key: 'k', value: 'v', position: '' as Position };
const answered: FlowOptions['answer'] = () => Promise.resolve({ records: [RECORD], askAgain: null });
const keepalive = (walEnd: number): StreamEvent => ({ type: 'keepalive', walEnd: at(walEnd) });

interface More {
  /** How the stream ends; null: as it does when we stop. */
  readonly end?: Error | null;
  readonly overlap?: FlowOptions['overlap'];
  readonly answer?: FlowOptions['answer'];
}

/** Runs the flow on these events. What it had recorded is noted after each; `fails` is how it ended. */
async function flow(events: readonly (readonly StreamEvent[])[], more: More = {}) {
  const { end = null, overlap = { lsn: at(0x180), xid: 42 }, answer = answered } = more;
  const recorded: string[] = [];
  const acknowledged: string[] = [];
  const recordedAfter: number[] = [];
  let sent = 0;
  async function* stream() {
    for (const some of events) {
      yield some;
      await turn();
      recordedAfter.push(recorded.length);
    }
    if (end !== null) throw end;
  }
  const fails = await runFlow({
    events: stream(),
    transactions: createTransactions({ epoch: 1, isMapped: () => true }),
    encoder: { encode: () => [], absent: () => RECORD },
    send: (records) => {
      sent += records.length;
      return Promise.resolve();
    },
    deadLetter: (one) => one,
    maxRecordBytes: 100,
    record: ({ lsn }) => {
      recorded.push(formatLsn(lsn));
      return Promise.resolve();
    },
    acknowledge: (lsn) => acknowledged.push(formatLsn(lsn)),
    overlap,
    checkRelation: () => Promise.resolve(),
    answer,
    beside: () => Promise.resolve(),
  }).then(
    () => null,
    (error: unknown) => error,
  );
  return { recorded, acknowledged, recordedAfter, sent, fails };
}

describe('until the last published transaction has come again', () => {
  it('everything is sent, and nothing is recorded or acknowledged', async () => {
    const replayed = [transaction(0x120, 40), [keepalive(0x180)], transaction(0x180, 42)];
    const { recordedAfter, ...result } = await flow([...replayed, transaction(0x200, 43)]);
    expect(result).toEqual({
      recorded: expect.arrayContaining(['0/208']) as string[],
      acknowledged: result.recorded,
      sent: 3,
      fails: null,
    });
    expect(recordedAfter.slice(0, 2)).toEqual([0, 0]);
  });

  it('nothing is recorded if the stream is lost on the way', async () => {
    const lost = new Error('lost');
    const result = await flow([transaction(0x120, 40), transaction(0x140, 41)], { end: lost });
    expect(result).toMatchObject({ sent: 2, recorded: [], acknowledged: [], fails: lost });
  });

  it.each<[string, StreamEvent[]]>([
    ['another transaction in its place', transaction(0x180, 43)],
    ['a later one without it', transaction(0x190, 42)],
    ['that nothing more is there for us', [keepalive(0x181)]],
  ])('it is a gap if PostgreSQL says: %s', async (_, events) => {
    const { recorded, acknowledged, sent, fails } = await flow([transaction(0x120, 40), events]);
    expect(isAppError(fails, 'SOURCE_CHANGED')).toBe(true);
    // Nothing of that transaction either.
    expect([recorded, acknowledged, sent]).toEqual([[], [], 1]);
  });
});

describe('a request that cannot be answered yet', () => {
  const events = [transaction(0x120, 40), transaction(0x140, 41), [keepalive(0x200)]];
  /** The first of them. */
  function postponing(askAgain: () => Promise<unknown>): More {
    let requests = 0;
    return {
      overlap: null,
      answer: (...args) =>
        requests++ === 0 ? Promise.resolve({ records: [], askAgain }) : answered(...args),
    };
  }

  it('is asked for again before anything from it on is recorded, also when we stop', async () => {
    const order: string[] = [];
    const result = await flow(
      events,
      postponing(() => Promise.resolve(order.push('asked again'))),
    );
    expect(order).toEqual(['asked again']);
    expect(result.recordedAfter).toEqual([0, 0, 0]);
    expect(result).toMatchObject({ fails: null, recorded: result.acknowledged, sent: 1 });
    expect(result.recorded.at(-1)).toBe('0/148');
  });

  it('is the end if it cannot be asked for again, and nothing of it is recorded', async () => {
    const refused = new Error('no connection');
    const result = await flow(
      events,
      postponing(() => Promise.reject(refused)),
    );
    expect(result).toMatchObject({ fails: refused, recorded: [], acknowledged: [] });
  });

  it('comes again by itself if the stream is lost', async () => {
    const lost = new Error('lost');
    let asked = 0;
    const result = await flow(events, { ...postponing(() => Promise.resolve(asked++)), end: lost });
    expect(result).toMatchObject({ fails: lost, recorded: [], acknowledged: [] });
    expect(asked).toBe(0);
  });
});
