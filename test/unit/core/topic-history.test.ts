import { expect, it } from 'vitest';
import { historyGaps, type TopicFacts } from '../../../src/core/topic-history.ts';

const whole: TopicFacts = {
  table: 'public.entity',
  topic: 'eiq.public.entity',
  cleanupPolicy: 'compact',
  partitions: [
    { partition: 0, low: 0n, end: 20n, reached: 20n },
    { partition: 1, low: 0n, end: 0n, reached: 0n },
  ],
  load: 'loaded',
  hasRows: true,
};
const [first, second] = whole.partitions as [TopicFacts['partitions'][0], TopicFacts['partitions'][0]];

it.each<[string, Partial<TopicFacts>, RegExp[]]>([
  ['is complete', {}, []],
  ['without a graph to compare with', { partitions: [{ ...first, reached: null }] }, []],
  ['that the graph is behind', { partitions: [{ ...first, reached: 3n }] }, []],
  ['of an empty table is empty', { partitions: [second], hasRows: false }, []],
  ['expires', { cleanupPolicy: 'delete' }, [/cleanup\.policy=delete/]],
  ['may expire', { cleanupPolicy: 'compact,delete' }, [/cleanup\.policy=compact,delete/]],
  ['has expired', { partitions: [{ ...first, low: 5n }, second] }, [/entity-0 begins at offset 5/]],
  [
    'was recreated',
    { partitions: [{ ...first, end: 19n }, second] },
    [/entity-0 ends at offset 19.*up to 20/],
  ],
  ['was emptied', { partitions: [{ ...first, end: 0n }, second] }, [/ends at offset 0/, /is empty, though/]],
  ['never got the older rows', { load: 'skipped' }, [/older than the slot/]],
  [
    'lacks this and that',
    {
      cleanupPolicy: undefined,
      partitions: [
        { ...first, low: 1n },
        { ...second, reached: 9n },
      ],
    },
    [/cleanup\.policy=,/, /begins/, /entity-1 ends/],
  ],
])('a history that %s', (_, change, expected) => {
  const gaps = historyGaps({ ...whole, ...change });
  expect(gaps).toHaveLength(expected.length);
  for (const [i, gap] of gaps.entries()) expect(gap).toMatch(expected[i] ?? /never/);
});
