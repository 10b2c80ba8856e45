/** What a look at the graph says of it, while nothing is written that the fence would judge. */
import { expect, it } from 'vitest';
import type { PartitionProgress } from '../../src/neo4j/progress.ts';
import { type FoundGraph, type KnownGraph, lostSince } from '../../src/pipelines/project/watch-progress.ts';

const row = (more: Partial<PartitionProgress> = {}): PartitionProgress => ({
  topic: 'entity',
  partition: 0,
  next: 5n,
  position: '' as PartitionProgress['position'],
  epoch: 1,
  session: 1,
  owner: 'me',
  generation: 'first',
  committedMs: null,
  ...more,
});

const known: KnownGraph = {
  uuid: 'ours',
  source: '1/db',
  generations: new Map([['entity', 'first']]),
  owner: 'me',
  owned: new Set(['entity-0']),
  reached: new Map([['entity-0', 5n]]),
};
const found: FoundGraph = { uuid: 'ours', source: '1/db', progress: [row()] };
const elsewhere = row({ partition: 1, owner: 'another' });

it.each<[string, Partial<FoundGraph>, RegExp | null]>([
  ['as it was', {}, null],
  ['further on, and a partition of another projector', { progress: [row({ next: 9n }), elsewhere] }, null],
  ['a topic that this session does not read', { progress: [row(), row({ topic: 'x', owner: null })] }, null],
  ['emptied', { uuid: null, source: null, progress: [] }, /emptied/],
  ['another graph, further on', { uuid: 'theirs', progress: [row({ next: 9n })] }, /another one/],
  ['of another source', { source: '2/db' }, /another source/],
  ['set back', { progress: [row({ next: 4n })] }, /went back/],
  ['without progress', { progress: [] }, /went back/],
  ['of another topic', { progress: [row({ generation: 'second', next: 9n })] }, /another topic/],
  [
    'a copy of a time when another had it',
    { progress: [row({ owner: 'another', next: 9n })] },
    /another proj/,
  ],
  ['taken up by a recovery', { progress: [row({ owner: null })] }, /another projector/],
])('%s', (_, more, lost) => {
  const said = lostSince(known, { ...found, ...more });
  if (lost === null) expect(said).toBeNull();
  else expect(said).toMatch(lost);
});

it('a partition that was given up meanwhile may be anybody’s', () => {
  const taken = { ...found, progress: [row({ owner: 'another' })] };
  expect(lostSince(known, taken, new Set())).toBeNull();
  expect(lostSince({ ...known, owned: new Set() }, taken, new Set(['entity-0']))).toBeNull();
});
