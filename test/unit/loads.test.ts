import { describe, expect, it } from 'vitest';
import { describeLoad, paceOf, type TableLoad, unloaded } from '../../src/core/loads.ts';

const load = (change: Partial<TableLoad>): TableLoad => ({
  state: 'loading',
  cursor: null,
  rows: 0,
  expected: 0,
  startedAt: '2026-01-01T00:00:00.000Z',
  ...change,
});
const tables = ['a', 'b', 'c', 'd'].map((table) => ({ table }));

describe('the initial load', () => {
  it('is outstanding for a table that is being loaded, and for one that nobody knows of', () => {
    const loads = { a: load({ state: 'loaded' }), b: load({}), c: load({ state: 'skipped' }) };
    expect(unloaded(loads, tables)).toEqual(['b', 'd']);
  });

  it.each<[Partial<TableLoad> | undefined, string]>([
    [undefined, 't: not begun'],
    [{}, 't: not begun'],
    [{ rows: 1000, expected: 4000 }, 't: 1000 of about 4000 rows (25 %)'],
    [{ rows: 5000, expected: 4000 }, 't: 5000 of about 5000 rows (100 %)'],
  ])('%j is told as %s', (change, text) => {
    expect(describeLoad('t', change && load(change))).toBe(text);
  });

  it('has a pace once there are rows', () => {
    const at = Date.parse('2026-01-01T00:00:10.000Z');
    expect(paceOf(load({ rows: 1000, expected: 4000 }), at)).toEqual({ rate: 100, etaSeconds: 30 });
    expect(paceOf(load({ rows: 5000, expected: 4000 }), at)).toEqual({ rate: 500, etaSeconds: 0 });
    expect(paceOf(load({}), at)).toEqual({ rate: 0, etaSeconds: null });
  });
});
