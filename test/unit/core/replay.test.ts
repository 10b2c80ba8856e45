import { describe, expect, it } from 'vitest';
import { loadMapping } from '../../../src/config/connectors.ts';
import { describeRequest, replayRequest, startsOf, stretchesOf } from '../../../src/core/replay.ts';

const mapping = loadMapping('connectors');
const ENTITY = 'eiq.public.entity';
const RELATION = 'eiq.public.relation';

const request = (options: { topics?: string; from?: string; timezone?: string }) =>
  replayRequest({ from: 'earliest', timezone: 'UTC', ...options }, mapping);
const tables = (topics: string) => request({ topics }).tables.map(({ table }) => table);

describe('the topics of a replay', () => {
  it('are all by default, in the order of the mapping', () => {
    expect(request({}).tables).toEqual(mapping.tables);
  });

  it.each([
    ['a table', 'public.relation', ['public.relation']],
    ['a table of public', 'relation', ['public.relation']],
    ['a topic', RELATION, ['public.relation']],
    [
      'several, one of them twice',
      `relation, ${ENTITY},entity`,
      mapping.tables.map(({ table }) => table).filter((table) => /\.(entity|relation)$/.test(table)),
    ],
  ])('are %s', (_, topics, expected) => {
    expect(tables(topics)).toEqual(expected);
  });

  it.each(['', ',', 'entity,', 'nothing', 'ENTITY', 'eiq.control'])('are not %j', (topics) => {
    expect(() => tables(topics)).toThrow(
      expect.objectContaining({
        code: 'USAGE',
        message: expect.stringMatching(/^--topics ".*": not mapped; the tables are public\./) as string,
      }) as Error,
    );
  });
});

describe('where a replay begins', () => {
  it.each([
    ['2026-03-01', 'UTC', '2026-03-01T00:00:00.000Z'],
    ['2026-03-01 10:30', 'UTC', '2026-03-01T10:30:00.000Z'],
    // As offsets this would be a topic with a space in its name.
    ['2026-03-01 10:30:00', 'Europe/Amsterdam', '2026-03-01T09:30:00.000Z'],
  ])('is what was published since %s in %s', (from, timezone, instant) => {
    expect(request({ from, timezone }).from).toEqual({ kind: 'published', sinceMs: Date.parse(instant) });
  });

  it('is offsets, of topics or tables', () => {
    const chosen = request({ from: `${ENTITY}:0:5, relation:3:999999999999999999,entity:2:0` });
    expect(chosen.tables.map(({ topic }) => topic).sort()).toEqual([ENTITY, RELATION]);
    expect(chosen.from).toEqual({
      kind: 'offsets',
      offsets: [
        { topic: ENTITY, partition: 0, offset: 5n },
        { topic: RELATION, partition: 3, offset: 999999999999999999n },
        { topic: ENTITY, partition: 2, offset: 0n },
      ],
    });
    expect(request({ from: 'entity:0:5', topics: ENTITY }).tables).toHaveLength(1);
  });

  it.each([
    ['latest', {}, /^--from "latest": use earliest, a date .* or offsets/],
    ['', {}, /^--from "": use/],
    ['entity:0', {}, /^--from/],
    ['entity:0:-1', {}, /^--from/],
    ['entity:0:x', {}, /^--from/],
    ['entity:0:5,earliest', {}, /^--from/],
    ['entity:0:5,', {}, /^--from/],
    ['entity:0:9999999999999999999', {}, /^--from/],
    ['nothing:0:5', {}, /^--from "nothing": not mapped/],
    ['entity:0:5,eiq.public.entity:0:6', {}, /^--from names eiq\.public\.entity:0 twice/],
    ['entity:0:5', { topics: 'relation' }, /other topics than --topics/],
    ['entity:0:5', { topics: 'entity,relation' }, /other topics than --topics/],
    ['entity:0:5,relation:0:5', { topics: 'entity' }, /other topics than --topics/],
    ['2026-02-30', {}, /^There is no 2026-02-30/],
    ['2026-03-29 02:30', { timezone: 'Europe/Amsterdam' }, /its clocks skip that time/],
    ['2026-03-01', { timezone: 'Mars/Olympus' }, /is no time zone/],
  ])('is not %j with %j', (from, options, message) => {
    expect(() => request({ from, ...options })).toThrow(
      expect.objectContaining({ code: 'USAGE', message: expect.stringMatching(message) as string }) as Error,
    );
  });
});

describe('the stretches of a replay', () => {
  const held = [
    { topic: ENTITY, partition: 0, low: 3n, end: 10n },
    { topic: ENTITY, partition: 1, low: 0n, end: 7n },
  ];
  const starts = (from: string) => startsOf(request({ from, topics: 'entity' }), held, []);

  it('begin where the topic does, at the time, or at the offset', () => {
    expect(starts('earliest').map(({ offset }) => offset)).toEqual([3n, 0n]);
    const published = [{ topic: ENTITY, partition: 1, offset: 5n }];
    expect(startsOf(request({ from: '2026-01-01' }), held, published)).toEqual(published);
    expect(starts('entity:1:7')).toEqual([{ topic: ENTITY, partition: 1, offset: 7n }]);
    expect(starts('entity:0:3')).toEqual([{ topic: ENTITY, partition: 0, offset: 3n }]);
  });

  it.each(['entity:0:2', 'entity:0:11', 'entity:1:8', 'entity:2:0'])('do not begin at %s', (from) => {
    expect(() => starts(from)).toThrow(expect.objectContaining({ code: 'USAGE' }) as Error);
  });

  it('end where the stream is, and are empty from there on', () => {
    const reached = (_: string, partition: number) => (partition === 0 ? 9n : 4n);
    expect(stretchesOf(starts('earliest'), reached).map(({ start, end }) => [start, end])).toEqual([
      [3n, 9n],
      [0n, 4n],
    ]);
    expect(stretchesOf(starts('entity:1:6'), reached)).toEqual([
      { topic: ENTITY, partition: 1, start: 6n, end: 6n },
    ]);
  });
});

it('is described for people', () => {
  expect(describeRequest(request({ topics: 'relation' }))).toBe('public.relation from earliest');
  expect(describeRequest(request({ topics: 'entity', from: '2026-01-01' }))).toBe(
    'public.entity from 2026-01-01T00:00:00.000Z',
  );
  expect(describeRequest(request({ from: 'entity:1:5,entity:0:7' }))).toBe(
    'public.entity from eiq.public.entity:0:7,eiq.public.entity:1:5',
  );
});
