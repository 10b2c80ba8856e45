/** What answers of Kafka's and ends of partitions tell: that nothing is lost, or what is. */
import { describe, expect, it } from 'vitest';
import { createWrittenEnds, lostEnds, toTopicEnds } from '../../../src/core/topic-ends.ts';

const at = (turn: number, offset: bigint, records: number, partition = 1) => ({
  topic: 't',
  partition,
  turn,
  offset,
  records,
});

describe('answers raise how far a topic is written', () => {
  it('from what was recorded, by partition', () => {
    const written = createWrittenEnds({ t: ['7', '900'], other: ['3'] });
    expect(written.answered(at(1, 900n, 100))).toBeNull();
    expect(written.answered(at(1, 5n, 2, 3))).toBeNull();
    expect(written.ends()).toEqual({ t: ['7', '1000', '0', '7'], other: ['3'] });
  });

  it('in whatever order they come: one that is sent again was there before those that follow it', () => {
    const written = createWrittenEnds({});
    expect(written.answered(at(2, 100n, 50))).toBeNull();
    expect(written.answered(at(1, 0n, 100))).toBeNull();
    expect(written.answered(at(3, 150n, 1))).toBeNull();
    expect(written.ends()).toEqual({ t: ['0', '151'] });
  });

  it('over what others wrote meanwhile', () => {
    const written = createWrittenEnds({ t: ['0', '10'] });
    expect(written.answered(at(1, 15n, 1))).toBeNull();
    expect(written.ends()).toEqual({ t: ['0', '16'] });
  });
});

it.each([
  ['what this session wrote', {}, 1000n],
  ['what was recorded', { t: ['0', '1000'] }, null],
])('an answer shows that records are lost: %s', (_, recorded, before) => {
  const written = createWrittenEnds(recorded);
  if (before !== null) expect(written.answered(at(1, 0n, Number(before)))).toBeNull();
  const lost = 'topic t-1 went on at 900, though it had ended at 1000';
  expect(written.answered(at(2, 900n, 200))).toBe(lost);
  // Nor is it used up, or passed over by the next one.
  expect(written.answered(at(2, 900n, 200))).toBe(lost);
  expect(written.ends()).toEqual({ t: ['0', '1000'] });
});

it.each<[string, bigint, string[]]>([
  ['it ends where it did', 1000n, []],
  ['it goes on', 1001n, []],
  ['it ends before', 900n, ['topic t-1 ends at 900, before the recorded 1000']],
])('a partition: %s', (_, end, lost) => {
  const found = [
    { topic: 't', partition: 0, end: 0n },
    { topic: 't', partition: 1, end },
    { topic: 't', partition: 2, end: 0n },
    { topic: 'unknown', partition: 0, end: 0n },
  ];
  expect(lostEnds({ t: ['0', '1000'], gone: ['5'] }, found)).toEqual(lost);
});

it('partitions as they are, in any order', () => {
  const ends = toTopicEnds([
    { topic: 't', partition: 1, end: 9n },
    { topic: 't', partition: 0, end: 4n },
  ]);
  expect(ends).toEqual({ t: ['4', '9'] });
});
