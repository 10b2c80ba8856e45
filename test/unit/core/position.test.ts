import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatLsn, lsn, parseLsn } from '../../../src/core/lsn.ts';
import { epochOf, isPosition, nextGeneration, parsePosition, position } from '../../../src/core/position.ts';

const anyLsn = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }).map(lsn);
const anyEpoch = fc.integer({ min: 0, max: 9_999_999_999 });

describe('LSN', () => {
  it.each([
    ['0/0', 0n],
    ['16/B374D848', 0x16b374d848n],
    ['FFFFFFFF/FFFFFFFF', 0xffff_ffff_ffff_ffffn],
  ])('%s is %i', (text, value) => {
    expect(parseLsn(text)).toBe(value);
    expect(formatLsn(lsn(value))).toBe(text);
  });

  it.each(['', '0', '0/', '/0', '0/100000000', 'g/0', '0/0 '])('refuses %j', (text) => {
    expect(() => parseLsn(text)).toThrow(RangeError);
  });
});

describe('position', () => {
  it('has the fixed shape', () => {
    expect(position(1_700_000_000, parseLsn('1/2'), parseLsn('0/FF'))).toBe(
      '1700000000-0000000100000002-00000000000000ff',
    );
  });

  it('orders as text as (epoch, commit LSN, own LSN) do as numbers', () => {
    fc.assert(
      fc.property(anyEpoch, anyLsn, anyLsn, anyEpoch, anyLsn, anyLsn, (e1, c1, o1, e2, c2, o2) => {
        const a = position(e1, c1, o1);
        const b = position(e2, c2, o2);
        const expected = e1 !== e2 ? e1 < e2 : c1 !== c2 ? c1 < c2 : o1 < o2;
        expect(a < b).toBe(expected);
        expect('' < a).toBe(true);
        expect(parsePosition(a)).toEqual({ epoch: e1, commitLsn: c1, ownLsn: o1 });
        expect(epochOf(a)).toBe(e1);
      }),
    );
  });

  it.each([
    '',
    '1-0-0',
    '1700000000-0000000100000002-00000000000000FF',
    'x700000000-0000000100000002-00000000000000ff',
  ])('%j is not one', (text) => {
    expect(isPosition(text)).toBe(false);
  });

  it('counts epochs and sessions upwards even when the previous one is lost', () => {
    expect(nextGeneration(0, 1_700_000_000_999)).toBe(1_700_000_000);
    expect(nextGeneration(1_800_000_000, 1_700_000_000_000)).toBe(1_800_000_001);
  });
});
