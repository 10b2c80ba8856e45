import { describe, expect, it } from 'vitest';
import { random, zipf } from '../../src/sample/random.ts';

describe('random', () => {
  it('is a function of seed, stream and index, and of each of them', () => {
    const words = (seed: number, stream: number, index: number): number[] => {
      const draw = random(seed, stream, index);
      return Array.from({ length: 4 }, () => draw.word());
    };
    expect(words(1, 2, 3)).toEqual(words(1, 2, 3));
    const different = [words(1, 2, 3), words(2, 2, 3), words(1, 3, 3), words(1, 2, 4), words(3, 2, 1)];
    expect(new Set(different.flat()).size).toBe(20);
  });

  it('makes version 4 UUIDs that do not repeat', () => {
    const uuids = Array.from({ length: 20_000 }, (_, index) => random(7, 1, index).uuid());
    expect(new Set(uuids).size).toBe(uuids.length);
    for (const uuid of uuids) {
      expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    }
  });

  it('is even', () => {
    const draw = random(1, 1, 1);
    const counts = new Array<number>(10).fill(0);
    for (let n = 0; n < 100_000; n++) {
      const drawn = draw.below(10);
      counts[drawn] = (counts[drawn] ?? Number.NaN) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  });
});

describe('zipf', () => {
  it.each([
    [1000, 0.9],
    [1000, 1.3],
    [7, 0.9],
  ])('gives each of %i ranks its share, exponent %f', (size, exponent) => {
    const rank = zipf(size, exponent);
    const draw = random(5, 5, 5);
    const counts = new Array<number>(size).fill(0);
    const draws = 300_000;
    for (let n = 0; n < draws; n++) {
      const drawn = rank(draw);
      counts[drawn] = (counts[drawn] ?? Number.NaN) + 1;
    }
    expect(counts.reduce((sum, count) => sum + count)).toBe(draws);
    const total = counts.reduce((sum, _, index) => sum + (index + 1) ** -exponent, 0);
    for (const index of [0, 1, 2, 6]) {
      const expected = (draws * (index + 1) ** -exponent) / total;
      expect((counts[index] ?? 0) / expected, `rank ${index}`).toBeGreaterThan(0.95);
      expect((counts[index] ?? 0) / expected, `rank ${index}`).toBeLessThan(1.05);
    }
  });
});
