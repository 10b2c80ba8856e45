/** When a scan asks for its pages: the two sides stand in for servers, and note what they are asked. */
import { describe, expect, it } from 'vitest';
import { compareTexts } from '../../src/core/keys.ts';
import { scan } from '../../src/pipelines/reconcile/scan.ts';

const PAGE = 2;
const stamps = (numbers: readonly number[]) => numbers.map((n) => ({ id: String(n), micros: 0n }));
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

/** What has been asked for by the time that each batch is there, and again once nothing is under way any more. */
async function askedFor(rows: readonly number[], nodes: readonly number[], ahead: number) {
  let graph = 0;
  let source = 0;
  const behind = (after: string | null) => (n: number) => n > Number(after ?? 0);
  const batches = scan(
    {
      source: {
        page({ after, upTo: last }, limit) {
          source++;
          const range = rows.filter(behind(after)).filter((n) => n <= Number(last ?? Infinity));
          return Promise.resolve(stamps(range.slice(0, limit)));
        },
        byIds: () => expect.unreachable('nothing is filtered'),
        compare: compareTexts,
        canHave: () => true,
      },
      graph: {
        page(after, limit) {
          graph++;
          return Promise.resolve(stamps(nodes.filter(behind(after)).slice(0, limit)));
        },
        byIds: () => expect.unreachable('nothing is filtered'),
      },
      filtered: false,
      batchSize: PAGE,
      ahead: () => ahead,
    },
    null,
    new AbortController().signal,
  );
  const asked: (readonly [graph: number, source: number])[] = [];
  const compared: string[] = [];
  for await (const pairs of batches) {
    compared.push(...pairs.map(({ id }) => id));
    // Whatever is under way comes to its end.
    await new Promise((resolve) => setImmediate(resolve));
    asked.push([graph, source]);
  }
  return { asked, compared };
}

describe('pages are asked for', () => {
  const six = upTo(6);

  it('one after the other, each when the one before it is compared, where none is to be read ahead', async () => {
    const { asked, compared } = await askedFor(six, six, 0);
    expect(compared).toEqual(six.map(String));
    expect(asked).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
  });

  it('while the one before is compared, two ahead', async () => {
    const { asked, compared } = await askedFor(upTo(10), upTo(10), 2);
    expect(compared).toEqual(upTo(10).map(String));
    expect(asked.slice(0, 2)).toEqual([
      [3, 3],
      [4, 4],
    ]);
  });

  it('as well within a range of which the graph has nothing', async () => {
    expect((await askedFor(six, [], 0)).asked).toEqual([
      [1, 1],
      [1, 2],
      [1, 3],
    ]);
    expect((await askedFor(six, [], 2)).asked[0]).toEqual([1, 2]);
  });
});
