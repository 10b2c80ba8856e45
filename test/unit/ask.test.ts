/** How a repair ends when the stream does: it asks for no more than what may still be answered. */
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/core/errors.ts';
import { type Asking, mended, mendInBatches } from '../../src/pipelines/reconcile/ask.ts';

const { signal } = new AbortController();
const late = () => Promise.reject(new AppError('TIMED_OUT', 'late'));
const idOf = (n: number) => `id ${String(n).padStart(4, '0')}`;

/** Of 2,500 that are missing in the graph, `answered` come, of each batch the first ones. */
async function repaired({ answered, ...asking }: Omit<Asking, 'stream'> & { readonly answered: number }) {
  const asked: number[] = [];
  const whole: Asking = { ...asking, stream: { stopped: false } };
  async function* ids() {
    for (let n = 0; n < 2500; n++) yield await Promise.resolve(idOf(n));
  }
  const left = await mendInBatches(
    ids(),
    whole,
    (id) => id,
    (batch) => {
      asked.push(batch.length);
      const rows = batch.map((id) => ({ id, version: '1', position: '' }));
      return mended(
        batch,
        () => asking.mend({} as never, [], signal),
        {
          source: { byIds: (open) => Promise.resolve(rows.filter(({ id }) => open.includes(id))) },
          graph: { byIds: () => Promise.resolve(rows.slice(0, answered)) },
          verdict: (row, node) => (row === null ? null : node === null ? 'missing' : 'ok'),
        },
        whole,
        signal,
      );
    },
  );
  return { asked, left };
}

const mend = () => Promise.resolve();
const caughtUp = () => Promise.resolve();

describe('a repair', () => {
  it('asks batch by batch, and has nothing left if all is answered', async () => {
    expect(await repaired({ mend, caughtUp, maxWaitMs: 1000, answered: 1000 })).toEqual({
      asked: [1000, 1000, 500],
      left: { count: 0, some: [], unasked: 0 },
    });
  });

  it('goes on behind what the graph does not take, as long as it catches up', async () => {
    expect(await repaired({ mend, caughtUp, maxWaitMs: 1, answered: 999 })).toEqual({
      asked: [1000, 1000, 500],
      left: { count: 2, some: [idOf(999), idOf(1999)], unasked: 0 },
    });
  });

  it('asks for nothing more once the graph does not catch up, and tells what was asked for', async () => {
    const { asked, left } = await repaired({ mend, caughtUp: late, maxWaitMs: 1, answered: 998 });
    expect(asked).toEqual([1000]);
    expect(left).toMatchObject({ count: 1502, unasked: 1500 });
    expect(left.some.slice(0, 3)).toEqual([idOf(998), idOf(999), idOf(1000)]);
    expect(left.some).toHaveLength(10);
  });

  it('ends as well if it cannot even ask for the whole of a batch in time', async () => {
    const { asked, left } = await repaired({ mend: late, caughtUp, maxWaitMs: 1000, answered: 1000 });
    expect(asked).toEqual([1000]);
    expect(left).toMatchObject({ count: 2500, unasked: 1500 });
  });
});

describe('what is too large to be held at once is looked at', () => {
  /** Ten, of which four can be held, and some stay missing in the graph. */
  async function looked(
    missing: readonly number[],
    {
      caughtUp,
      maxWaitMs,
      readMs = 0,
    }: Pick<Asking, 'caughtUp' | 'maxWaitMs'> & { readonly readMs?: number },
  ) {
    const reads = { source: [] as number[], graph: [] as number[] };
    const waits: number[] = [];
    const stream = { stopped: false };
    const one = (id: string) => ({ id, version: '1', position: '' });
    const left = await mended(
      Array.from({ length: 10 }, (_, n) => idOf(n)),
      () => Promise.resolve(),
      {
        source: {
          holdable: (ids) => Promise.resolve(Math.min(ids.length, 4)),
          async byIds(ids) {
            reads.source.push(ids.length);
            await delay(readMs);
            return ids.map(one);
          },
        },
        graph: {
          byIds(ids) {
            reads.graph.push(ids.length);
            return Promise.resolve(ids.filter((id) => !missing.map(idOf).includes(id)).map(one));
          },
        },
        verdict: (row, node) => (row === null ? null : node === null ? 'missing' : 'ok'),
      },
      {
        mend,
        caughtUp(timeoutMs) {
          waits.push(timeoutMs);
          return caughtUp(timeoutMs);
        },
        maxWaitMs,
        stream,
      },
      signal,
    );
    return { left, reads, waits, stopped: stream.stopped };
  }

  it('as many at a time, and all of it', async () => {
    const { left, reads } = await looked([], { caughtUp, maxWaitMs: 1000 });
    expect(left).toEqual([]);
    expect(reads).toEqual({ source: [4, 4, 4, 4, 2, 2], graph: [4, 4, 2] });
  });

  it('again, where it differs, until time is up', async () => {
    const { left, reads, stopped } = await looked([1, 3, 4, 7, 9], { caughtUp, maxWaitMs: 500 });
    expect(left).toEqual([1, 3, 4, 7, 9].map(idOf));
    expect(reads.graph.slice(0, 5)).toEqual([4, 4, 2, 4, 1]);
    expect(stopped).toBe(false);
  });

  it('once, and without much waiting, when the graph does not catch up', async () => {
    const { left, waits, stopped } = await looked([8], { caughtUp: late, maxWaitMs: 1000 });
    expect(left).toEqual([idOf(8)]);
    expect(waits).toEqual([expect.closeTo(1000, -1), 1, 1]);
    expect(stopped).toBe(true);
  });

  it('however long it takes to read: the stream has as much time after that', async () => {
    const { left, waits, stopped } = await looked([], { caughtUp, maxWaitMs: 50, readMs: 30 });
    expect(left).toEqual([]);
    expect(waits).toHaveLength(3);
    expect(Math.min(...waits)).toBeGreaterThan(40);
    expect(stopped).toBe(false);
  });
});
