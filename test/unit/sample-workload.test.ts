import { describe, expect, it } from 'vitest';
import { Bag } from '../../src/sample/known-rows.ts';
import { random } from '../../src/sample/random.ts';
import { nextDue } from '../../src/sample/workload.ts';

describe('the pace', () => {
  it.each([
    ['one change, in time', 1_000, 1, 1_001, 1_010],
    ['a transaction of five takes the time of five', 1_000, 5, 1_003, 1_050],
    ['an empty one takes the time of one', 1_000, 0, 1_001, 1_010],
    ['what is a little late is made up for', 1_000, 1, 1_080, 1_010],
    ['what is very late is let go, but for 100 ms', 1_000, 1, 9_000, 8_900],
  ])('%s', (_, dueMs, changes, nowMs, expected) => {
    expect(nextDue(dueMs, changes, 10, nowMs)).toBe(expected);
  });
});

describe('a bag', () => {
  it('gives each thing it holds, once when taken, and nothing when empty', () => {
    const bag = new Bag<number>(random(1, 1, 1));
    expect([bag.peek(), bag.take()]).toEqual([undefined, undefined]);
    for (const thing of [1, 2, 3, 4]) bag.add(thing);
    const seen = new Set(Array.from({ length: 200 }, () => bag.peek()));
    expect([...seen].sort()).toEqual([1, 2, 3, 4]);
    const taken = [bag.take(), bag.take(), bag.take(), bag.take()];
    expect([...taken].sort()).toEqual([1, 2, 3, 4]);
    expect(bag.take()).toBeUndefined();
  });

  it('takes at random', () => {
    const firsts = Array.from({ length: 400 }, (_, index) => {
      const bag = new Bag<number>(random(1, 1, index));
      for (const thing of [0, 1, 2, 3]) bag.add(thing);
      return bag.take() ?? 0;
    });
    for (const thing of [0, 1, 2, 3]) {
      expect(firsts.filter((first) => first === thing).length).toBeGreaterThan(60);
    }
  });

  it('lets things fall out rather than grow without end', () => {
    const bag = new Bag<number>(random(1, 1, 1));
    for (let thing = 0; thing < 20_000; thing++) bag.add(thing);
    const held: number[] = [];
    for (let thing = bag.take(); thing !== undefined; thing = bag.take()) held.push(thing);
    expect(held.length).toBe(5_000);
    expect(new Set(held).size).toBe(5_000);
  });
});
