import { describe, expect, it } from 'vitest';
import type { KeyedMutation } from '../../src/core/graph.ts';
import type { Position } from '../../src/core/position.ts';
import { effectOf, type Elements } from '../../src/neo4j/rehearsal.ts';

const at = (n: number) => `at ${n}` as Position;
const upsert = {
  kind: 'node-upsert',
  table: 't',
  key: 'a',
  position: at(5),
  typeLabel: null,
  values: [],
} as const;
const remove = { kind: 'node-delete', table: 't', key: 'a', position: at(5) } as const;

/** Positions and titles of what bears the key. */
const holding = (...elements: readonly (readonly [number, string])[]): Elements =>
  new Map([
    [
      'a',
      elements.map(([n, title]) => ({ key: 'a', position: at(n), content: new Map([['title', title]]) })),
    ],
  ]);
const NOTHING: Elements = new Map();

describe('the effect of a mutation', () => {
  it.each<[string, KeyedMutation, Elements, Elements, [changed: number, removed: number]]>([
    ['an upsert of what is not there', upsert, NOTHING, holding([5, 'x']), [1, 0]],
    ['of what is there', upsert, holding([5, 'x']), holding([5, 'x']), [0, 0]],
    ['of what is there at an older position', upsert, holding([3, 'x']), holding([5, 'x']), [0, 0]],
    ['of what is there otherwise', upsert, holding([5, 'y']), holding([5, 'x']), [1, 0]],
    ['of what is there twice', upsert, holding([5, 'x'], [5, 'x']), holding([5, 'x']), [1, 0]],
    ['refused', upsert, holding([7, 'y']), holding([7, 'y']), [0, 0]],
    ['refused, and the stream has written in between', upsert, holding([5, 'y']), holding([7, 'z']), [0, 0]],
    ['refused, and the stream has deleted in between', upsert, holding([5, 'y']), NOTHING, [0, 0]],
    ['a delete of what is there', remove, holding([3, 'x']), NOTHING, [0, 1]],
    ['of what is not there', remove, NOTHING, NOTHING, [0, 0]],
    ['refused', remove, holding([7, 'x']), holding([7, 'x']), [0, 0]],
    ['refused, and the stream has deleted in between', remove, holding([7, 'x']), NOTHING, [0, 0]],
  ])('%s', (_, mutation, before, after, [changed, removed]) => {
    expect(effectOf([mutation], before, after)).toEqual({ changed, removed });
  });

  it('is counted by key', () => {
    const other = { ...upsert, key: 'b' };
    expect(effectOf([upsert, other], NOTHING, holding([5, 'x']))).toEqual({ changed: 1, removed: 0 });
  });
});
