/** Progress that says nothing of what the graph has, though its topic is there and long enough. */
import { expect, it } from 'vitest';
import type { PartitionProgress } from '../../src/neo4j/progress.ts';
import { misfits, type Recovery } from '../../src/pipelines/fit.ts';

const row = (next: bigint, epoch: number): PartitionProgress => ({
  topic: 't',
  partition: 1,
  next,
  position: '' as PartitionProgress['position'],
  epoch,
  session: 1,
  owner: null,
  generation: 'g',
  committedMs: null,
});

/** Its partition ended at 900 when the recovery began, had been longer, and has grown since. */
function found(progress: PartitionProgress, recovery: Partial<Recovery> | null) {
  return misfits([progress], {
    generations: new Map([['t', 'g']]),
    ranges: [{ topic: 't', partition: 1, low: 0n, end: 1500n }],
    recovery: recovery && {
      epoch: 2,
      finishedAt: '2026-11-24T00:00:00.000Z',
      ranges: [
        { topic: 't', partition: 0, low: '0', end: '0' },
        { topic: 't', partition: 1, low: '0', end: '900' },
      ],
      ...recovery,
    },
  });
}

it.each<[string, PartitionProgress, Partial<Recovery> | null]>([
  ['there was no recovery', row(1000n, 1), null],
  ['it had not been where the recovery began', row(900n, 1), {}],
  ['it has what the recovery had published', row(1000n, 2), {}],
  ['nobody knows where the partition ended then', row(1000n, 1), { ranges: [] }],
])('a graph goes on: %s', (_, progress, recovery) => {
  expect(found(progress, recovery)).toEqual([]);
});

it.each([
  ['it is not finished: the next projector adopts it', null, true],
  ['it is finished: nobody goes back for what it had published', '2026-11-24T00:00:00.000Z', false],
])('a graph that stood aside in a recovery has missed its beginning; %s', (_, finishedAt, passing) => {
  const why = 'the graph goes on at offset 1000 of t-1, where the recovery of epoch 2 began at 900';
  expect(found(row(1000n, 1), { finishedAt })).toEqual([{ topic: 't', why, passing }]);
});
