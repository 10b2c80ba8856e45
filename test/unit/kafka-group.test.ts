import { expect, it } from 'vitest';
import { assign } from '../../src/kafka/group.ts';

const PARTITIONS = ['a', 'b'].flatMap((topic) => [0, 1, 2].map((partition) => ({ topic, partition })));

const reading = (ids: readonly string[], topics = ['a', 'b']) =>
  new Map(ids.map((id) => [id, new Set(topics)]));

it('every partition is one member’s, and no member has two more than another', () => {
  for (let members = 1; members <= 8; members++) {
    const ids = Array.from({ length: members }, (_, i) => `m${i}`);
    const shares = assign(reading(ids), PARTITIONS);
    const given = [...shares.values()].flat();
    expect(new Set(given.map((p) => `${p.topic}-${p.partition}`)).size).toBe(6);
    expect(given).toHaveLength(6);
    const sizes = [...shares.values()].map((share) => share.length);
    expect(sizes).toHaveLength(members);
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
  }
});

it('the order in which members and partitions come does not matter', () => {
  const one = assign(reading(['y', 'x']), PARTITIONS);
  const other = assign(reading(['x', 'y']), [...PARTITIONS].reverse());
  expect(one.get('x')).toEqual(other.get('x'));
  expect(one.get('y')).toEqual(other.get('y'));
});

it('a topic goes to those alone that read it', () => {
  const shares = assign(new Map([...reading(['x', 'y'], ['a']), ...reading(['z'])]), PARTITIONS);
  const topics = (id: string) => shares.get(id)?.map(({ topic }) => topic);
  expect(topics('x')).toEqual(['a']);
  expect(topics('y')).toEqual(['a']);
  expect(topics('z')).toEqual(['a', 'b', 'b', 'b']);
});
