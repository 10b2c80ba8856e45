/** What becomes of the reader's state where records are set aside. */
import { expect, it } from 'vitest';
import { INITIAL_READER } from '../../src/core/partition-reader.ts';
import type { IncomingRecord } from '../../src/kafka/subscriber.ts';
import { plan } from '../../src/pipelines/project/window.ts';
import { testMapping } from '../support/test-mapping.ts';

const { table } = testMapping('window');
const entities = table('public.entity');
const POSITION = '0000000007-0000000000000010-0000000000000010';

/** Of epoch 7 and session 9. */
function record(offset: bigint, change: object): IncomingRecord {
  const source = { position: POSITION, epoch: 7, session: 9, schema: 'public', table: 'entity', ts_ms: 1 };
  const value = Buffer.from(JSON.stringify({ op: 'c', source, before: null, after: null, ...change }));
  return { offset, key: Buffer.from('{"id":"a"}'), value, timestampMs: 0 };
}

it('one that is of no use as a row still tells which publisher writes', () => {
  const { aside, reader, steps } = plan([record(0n, {})], entities, INITIAL_READER);
  expect(aside.map(({ kind }) => kind)).toEqual(['malformed']);
  expect(steps).toEqual([]);
  expect(reader).toEqual({ epoch: 7, session: 9, position: POSITION });
});

it('one that says that a session begins tells which one, and what comes behind it of an earlier one is refused', () => {
  const source = { position: POSITION, epoch: 7, session: 9, schema: 'public', table: 'entity', ts_ms: 1 };
  const late = { position: POSITION.replace('7-', '6-'), epoch: 6, session: 8 };
  const begins = record(0n, {
    op: 'm',
    source: { ...source, position: POSITION.replace(/10/g, '00') },
    message: { prefix: 'graph.session' },
  });
  const { aside, reader, steps } = plan(
    [begins, record(1n, { source: { ...source, ...late } })],
    entities,
    INITIAL_READER,
  );
  expect(aside.map(({ kind, record: { offset } }) => [kind, offset])).toEqual([['stale', 1n]]);
  expect(steps).toEqual([]);
  expect(reader).toMatchObject({ epoch: 7, session: 9 });
  expect(plan([begins], entities, { ...reader, session: 10 }).aside).toEqual([]);
});

it('one that cannot be read tells nothing', () => {
  const { aside, reader } = plan([record(0n, { source: null })], entities, INITIAL_READER);
  expect(aside.map(({ kind }) => kind)).toEqual(['malformed']);
  expect(reader).toEqual(INITIAL_READER);
});
