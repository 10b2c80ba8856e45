/** How a repair ends when the stream does: it asks for no more than what may still be answered. */
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
