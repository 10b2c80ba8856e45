import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createUnseenXids, invisibleIn, parseSnapshot, widenXid } from '../../../src/core/snapshots.ts';

describe('a snapshot', () => {
  it('is read as PostgreSQL writes it', () => {
    expect(parseSnapshot('10:10:')).toEqual({ xmin: 10n, xmax: 10n, running: [] });
    expect(parseSnapshot('10:20:10,14')).toEqual({ xmin: 10n, xmax: 20n, running: [10n, 14n] });
    for (const text of ['', '10:20', '10:20:a', '10:20:1,'])
      expect(() => parseSnapshot(text)).toThrow(RangeError);
  });

  it.each<[string, string, [bigint, bigint][], [bigint, bigint][]]>([
    ['what ended before it', '10:20:', [[1n, 9n]], []],
    ['what ended while others ran', '10:20:10,14', [[11n, 13n]], []],
    [
      'not those that ran',
      '10:20:10,14',
      [[9n, 15n]],
      [
        [10n, 10n],
        [14n, 14n],
      ],
    ],
    [
      'not what came after',
      '10:20:',
      [
        [18n, 22n],
        [30n, 30n],
      ],
      [
        [20n, 22n],
        [30n, 30n],
      ],
    ],
    ['not itself the next', '10:20:', [[20n, 20n]], [[20n, 20n]]],
  ])('sees %s', (_, snapshot, ranges, left) => {
    expect(invisibleIn(ranges, parseSnapshot(snapshot))).toEqual(left);
  });
});

describe('an xid of 32 bits', () => {
  const epoch = 1n << 32n;
  it.each<[number, bigint, bigint]>([
    [750, 760n, 750n],
    [770, 760n, 770n],
    [0xffff_fff0, 3n * epoch + 5n, 3n * epoch - 16n],
    [5, 3n * epoch - 16n, 3n * epoch + 5n],
    [0x9000_0000, 3n * epoch + 0x9000_0001n, 3n * epoch + 0x9000_0000n],
    [3, 3n * epoch + 0x7000_0000n, 3n * epoch + 3n],
  ])('%d near %d is %d', (xid, near, wide) => {
    expect(widenXid(xid, near)).toBe(wide);
  });
});

describe('received transactions', () => {
  const now = (xmax: bigint) => ({ xmin: xmax, xmax, running: [] });

  it('are kept as ranges, in whatever order they come, until a snapshot sees them', () => {
    const unseen = createUnseenXids([], now(100n));
    for (const xid of [103, 101, 102, 110, 102, 108, 109]) unseen.received(xid);
    expect(unseen.ranges()).toEqual([
      [101n, 103n],
      [108n, 110n],
    ]);
    unseen.seenBy(parseSnapshot('102:109:102'));
    expect(unseen.ranges()).toEqual([
      [102n, 102n],
      [109n, 110n],
    ]);
    unseen.seenBy(parseSnapshot('111:111:'));
    expect(unseen.ranges()).toEqual([]);
  });

  it('of an earlier session count on, but for those that are visible now', () => {
    expect(
      createUnseenXids(
        [
          [90n, 95n],
          [98n, 105n],
        ],
        now(100n),
      ).ranges(),
    ).toEqual([[100n, 105n]]);
  });

  it('are widened by the latest snapshot', () => {
    const unseen = createUnseenXids([], now((1n << 32n) - 2n));
    unseen.seenBy(now((1n << 32n) + 0x7000_0000n));
    unseen.received(0x8000_0000);
    expect(unseen.ranges()).toEqual([[0x1_8000_0000n, 0x1_8000_0000n]]);
  });

  it('are a set of numbers, however it is kept', () => {
    const xids = fc.array(fc.integer({ min: 100, max: 140 }));
    const running = fc.uniqueArray(fc.integer({ min: 100, max: 140 }));
    fc.assert(
      fc.property(fc.array(fc.tuple(xids, running, fc.integer({ min: 100, max: 141 }))), (rounds) => {
        const unseen = createUnseenXids([], now(100n));
        const model = new Set<bigint>();
        for (const [received, all, xmax] of rounds) {
          for (const xid of received) {
            unseen.received(xid);
            model.add(BigInt(xid));
          }
          const open = all
            .filter((xid) => xid < xmax)
            .sort((a, b) => a - b)
            .map(BigInt);
          unseen.seenBy({ xmin: open[0] ?? BigInt(xmax), xmax: BigInt(xmax), running: open });
          for (const xid of model) if (xid < xmax && !open.includes(xid)) model.delete(xid);
          const kept = unseen
            .ranges()
            .flatMap(([from, to]) =>
              Array.from({ length: Number(to - from) + 1 }, (_, i) => from + BigInt(i)),
            );
          expect(kept).toEqual([...model].sort((a, b) => Number(a - b)));
        }
      }),
    );
  });
});
