/** When the flow acknowledges: not before history is joined (I6), nor before what has to wait has come again. */
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { isAppError } from '../../src/core/errors.ts';
import { formatLsn, type Lsn, lsn, LSN_ZERO } from '../../src/core/lsn.ts';
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
const answered: FlowOptions['answer'] = () =>
  Promise.resolve({ records: [RECORD], seen: LSN_ZERO, again: null });
const noop = () => undefined;
const notNeeded = (upTo: Lsn) => Promise.resolve(upTo);
const keepalive = (walEnd: number): StreamEvent => ({ type: 'keepalive', walEnd: at(walEnd) });

interface More {
  /** How the stream ends; null: as it does when we stop. */
  readonly end?: Error | null;
  readonly overlap?: FlowOptions['overlap'];
  readonly answer?: FlowOptions['answer'];
  readonly prepare?: FlowOptions['prepare'];
  readonly flush?: FlowOptions['flush'];
  readonly beside?: FlowOptions['beside'];
}

type Events = Iterable<readonly StreamEvent[]> | AsyncIterable<readonly StreamEvent[]>;

/** Runs the flow on these events. What it had recorded is noted after each; `fails` is how it ended. */
async function flow(events: Events, more: More = {}) {
  const {
    end = null,
    overlap = { lsn: at(0x180), xid: 42 },
    answer = answered,
    prepare = noop,
    flush = notNeeded,
    beside = () => Promise.resolve(),
  } = more;
  const recorded: string[] = [];
  const acknowledged: string[] = [];
  const recordedAfter: number[] = [];
  let sent = 0;
  async function* stream() {
    for await (const some of events) {
      yield some;
      await turn();
      recordedAfter.push(recorded.length);
    }
    if (end !== null) throw end;
  }
  const fails = await runFlow({
    events: stream(),
    transactions: createTransactions({ epoch: 1, isMapped: () => true }),
    encoder: { announced: () => undefined, encode: () => [], absent: () => RECORD },
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
    prepare,
    flush,
    beside,
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

it('what is cut short beside it when it stops takes nothing from its end', async () => {
  const result = await flow([transaction(0x180, 42), transaction(0x200, 43)], {
    beside: (stop) =>
      new Promise((_, reject) => {
        stop.addEventListener('abort', () => {
          reject(stop.reason as Error);
        });
      }),
  });
  expect(result.fails).toBeNull();
  expect(result.acknowledged.at(-1)).toBe('0/208');
});

describe('a request that is answered in part', () => {
  /** The first one; its rest is flushed up to `flushed`, and at once unless it says otherwise. */
  function inPart(emit: () => Promise<Lsn>, afterMs = 0): More {
    let requests = 0;
    return {
      overlap: null,
      answer: (...args) =>
        requests++ === 0
          ? Promise.resolve({ records: [RECORD], seen: LSN_ZERO, again: { afterMs, emit } })
          : answered(...args),
    };
  }
  const flushed = (value: number) => () => Promise.resolve(at(value));

  it.each<[string, StreamEvent[], number[], string]>([
    ['a transaction that ends there', transaction(0x1f8, 42), [0, 0, 1], '0/148'],
    ['nothing more for us up to there', [keepalive(0x200)], [0, 0, 1], '0/200'],
    ['a transaction that ends before', transaction(0x1f0, 42), [0, 0, 0], 'none'],
    ['nothing up to before', [keepalive(0x1ff)], [0, 0, 0], 'none'],
  ])('is acknowledged once the stream has brought the rest: %s', async (_, events, after, first) => {
    const result = await flow(
      [transaction(0x120, 40), transaction(0x140, 41), events],
      inPart(flushed(0x200)),
    );
    expect(result.recordedAfter.map((n) => Math.min(n, 1))).toEqual(after);
    expect(result.recorded[0] ?? 'none').toBe(first);
    expect(result).toMatchObject({
      fails: null,
      sent: events.length > 1 ? 3 : 2,
      acknowledged: result.recorded,
    });
  });

  it('is the end if the rest cannot be asked for, and nothing of it is recorded', async () => {
    const refused = new Error('no connection');
    const result = await flow(
      [transaction(0x120, 40), transaction(0x140, 41), [keepalive(0x200)]],
      inPart(() => Promise.reject(refused)),
    );
    expect(result).toMatchObject({ fails: refused, recorded: [], acknowledged: [] });
  });

  it.each([
    ['the stream is lost', new Error('lost')],
    ['we stop', null],
  ])('comes again by itself, and is not asked for, if %s before its time', async (_, end) => {
    let asked = 0;
    const emit = () => Promise.resolve(at(0x200 + asked++));
    const result = await flow([transaction(0x120, 40), [keepalive(0x300)]], { ...inPart(emit, 60_000), end });
    expect(result).toMatchObject({ fails: end, recorded: [], acknowledged: [] });
    expect(asked).toBe(0);
  });
});

describe('what an answer may have seen', () => {
  const seeing = (value: number): FlowOptions['answer'] => {
    return () => Promise.resolve({ records: [RECORD], seen: at(value), again: null });
  };

  it('must have come before it is acknowledged', async () => {
    const events = [transaction(0x120, 40), [keepalive(0x1ff)], [keepalive(0x200)]];
    const result = await flow(events, { overlap: null, answer: seeing(0x200) });
    expect(result.recordedAfter.map((n) => Math.min(n, 1))).toEqual([0, 0, 1]);
    expect(result).toMatchObject({ fails: null, sent: 1, acknowledged: result.recorded });
  });

  it('is flushed, once, if nothing else does it', async () => {
    const flushed: string[] = [];
    let done: (() => void) | undefined;
    const asked = new Promise<void>((resolve) => (done = resolve));
    async function* events() {
      yield transaction(0x120, 40);
      yield transaction(0x140, 41);
      await asked;
      yield [keepalive(0x200)];
    }
    const result = await flow(events(), {
      overlap: null,
      answer: seeing(0x200),
      flush: (upTo) => {
        flushed.push(formatLsn(upTo));
        done?.();
        return Promise.resolve(at(0x210));
      },
    });
    expect(flushed).toEqual(['0/200']);
    expect(result).toMatchObject({ fails: null, recorded: result.acknowledged });
    expect(result.recorded.length).toBeGreaterThan(0);
  });
});

describe('messages that were received', () => {
  it('are prepared before their turn, two at a time and in their order', async () => {
    const said: string[] = [];
    const prefixed = (n: number): StreamEvent[] =>
      transaction(0x100 + n * 0x10, n).map((one) =>
        one.type === 'message' && one.message.kind === 'message'
          ? { ...one, message: { ...one.message, prefix: String(n) } }
          : one,
      );
    await flow([[1, 2, 3, 4].flatMap(prefixed), prefixed(5)], {
      overlap: null,
      prepare: ({ prefix }) => said.push(`prepare ${prefix}`),
      answer: (message) => {
        said.push(`answer ${message.prefix}`);
        return Promise.resolve({ records: [], seen: LSN_ZERO, again: null });
      },
    });
    expect(said.join(', ')).toBe(
      'prepare 1, prepare 2, answer 1, prepare 3, answer 2, prepare 4, answer 3, answer 4, prepare 5, answer 5',
    );
  });
});
