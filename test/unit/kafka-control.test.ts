import { describe, expect, it } from 'vitest';
import { controlState } from '../../src/kafka/control.ts';
import { sequenceAfter } from '../../src/kafka/publisher.ts';

const AT = '2026-01-01T00:00:00.000Z';

function source(session: number, acknowledged: string | null): string {
  return JSON.stringify({
    kind: 'source',
    session,
    epoch: 1,
    systemIdentifier: '7',
    timeline: 1,
    database: 'd',
    slot: 's',
    acknowledged,
    lastCommit: { lsn: '0/1', xid: 4_294_967_295 },
    loads: {},
    askedAgain: null,
    refusedRequests: 0,
    xids: [['18446744073709551614', '18446744073709551615']],
    at: AT,
  });
}

const session = (n: number) => JSON.stringify({ kind: 'session', session: n, startedAt: AT });
const topic = (name: string) =>
  JSON.stringify({ kind: 'topic', topic: name, generation: 'g', createdAt: AT });

describe('what the control topic says', () => {
  it('is nothing at first', () => {
    expect(controlState([])).toEqual({
      source: null,
      session: 0,
      topics: new Map(),
      recovery: null,
      verified: new Map(),
      sessions: [],
    });
  });

  it('of the source is what the highest session said, in whatever order it was written', () => {
    const state = controlState([source(12, '0/B'), session(12), source(11, '0/FF'), session(11), topic('t')]);
    expect(state.source).toMatchObject({ session: 12, acknowledged: '0/B' });
    expect(state.session).toBe(12);
    expect(state.sessions).toEqual([11, 12]);
    expect([...state.topics.keys()]).toEqual(['t']);
  });

  it('of how far topics were written is nothing in a record of an earlier version', () => {
    expect(controlState([source(1, '0/1'), topic('t')]).source?.ends).toEqual({});
  });

  it('of the source survives a session that had nothing to say yet', () => {
    const state = controlState([session(13), source(12, null)]);
    expect(state).toMatchObject({ session: 13, source: { session: 12, acknowledged: null } });
  });

  it('of the source is nothing where a publisher at work has written to a topic that was made again', () => {
    expect(controlState([source(12, '0/B')])).toMatchObject({ source: null, session: 12 });
    expect(controlState([source(12, '0/B'), topic('t')]).source).toMatchObject({ session: 12 });
    expect(controlState([source(12, null)]).source).toMatchObject({ session: 12 });
  });

  it('in kinds or fields of a later version is left alone', () => {
    const later = JSON.stringify({ kind: 'load-cursor', anything: 1 });
    const extended = JSON.stringify({ ...(JSON.parse(source(1, '0/1')) as object), more: true });
    expect(controlState([later, extended, topic('t')]).source?.session).toBe(1);
  });

  it.each(['', 'null', '{}', '{"kind":7}', '{"kind":"source"}', source(1, 'x/y'), source(-1, null)])(
    'is never guessed: %s',
    (value) => {
      expect(() => controlState([value])).toThrow(
        expect.objectContaining({ code: 'CONTROL_MALFORMED' }) as Error,
      );
    },
  );
});

it.each([
  [0, 5, 5],
  [2 ** 31 - 6, 5, 2 ** 31 - 1],
  [2 ** 31 - 5, 5, 0],
  [2 ** 31 - 1, 1, 0],
  [2 ** 31 - 1, 10, 9],
])('the sequence number after %i and %i records is %i', (sequence, count, next) => {
  expect(sequenceAfter(sequence, count)).toBe(next);
});
