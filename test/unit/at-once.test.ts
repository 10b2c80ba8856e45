/** How much of what is compared is held at once. */
import { describe, expect, it } from 'vitest';
import { type ContentStamp, verdictByContent } from '../../src/core/content.ts';
import { firstOf, piecesOf } from '../../src/pipelines/reconcile/at-once.ts';
import { type EntityContents, unlike } from '../../src/pipelines/reconcile/deep.ts';

const { signal } = new AbortController();
const idsOf = (count: number) => Array.from({ length: count }, (_, n) => `id ${n}`);

describe('of what is compared', () => {
  it('1000 are held at once, or as many of those as the side says', async () => {
    const asked: number[] = [];
    const holdable = (ids: readonly string[]) => {
      asked.push(ids.length);
      return Promise.resolve(Math.min(ids.length, 600));
    };
    const ids = idsOf(1300);
    expect(await firstOf(ids, {}, signal)).toEqual(ids.slice(0, 1000));
    expect(await firstOf(ids, { holdable }, signal)).toEqual(ids.slice(0, 600));
    const pieces: (readonly string[])[] = [];
    for await (const piece of piecesOf(ids, { holdable }, signal)) pieces.push(piece);
    expect(pieces).toEqual([ids.slice(0, 600), ids.slice(600, 1200), ids.slice(1200)]);
    expect(asked).toEqual([1000, 1000, 700, 100]);
  });

  it('nothing is asked about nothing', async () => {
    const holdable = () => Promise.reject(new Error('asked'));
    expect(await firstOf([], { holdable }, signal)).toEqual([]);
  });
});

it('what is looked at closely is read a piece at a time, on either side, and all of it', async () => {
  const read = { source: [] as number[], graph: [] as number[] };
  const side =
    (reads: number[], titleOf: (id: string) => string) =>
    (ids: readonly string[]): Promise<(ContentStamp & { version: string; position: string })[]> => {
      reads.push(ids.length);
      const one = (id: string) => ({ id, micros: 1n, version: 'v', position: 'p' });
      return Promise.resolve(ids.map((id) => ({ ...one(id), content: new Map([['title', titleOf(id)]]) })));
    };
  const contents: EntityContents = {
    deep: true,
    diffs: false,
    verdict: verdictByContent,
    source: {
      holdable: (ids) => Promise.resolve(Math.min(ids.length, 4)),
      byIds: side(read.source, () => 'same'),
    },
    graph: { byIds: side(read.graph, (id) => (['id 0', 'id 5', 'id 9'].includes(id) ? 'other' : 'same')) },
  };
  const pairs = idsOf(10).map((id) => ({ id, source: { id, micros: 1n }, graph: { id, micros: 1n } }));
  expect(await unlike(pairs, contents, signal)).toEqual(new Set(['id 0', 'id 5', 'id 9']));
  expect(read).toEqual({ source: [4, 4, 2], graph: [4, 4, 2] });
});
