/** Whose graph a recovery may take over: what the control topic tells of, and what the operator alone does. */
import { describe, expect, it } from 'vitest';
import { isAppError } from '../../src/core/errors.ts';
import { NO_CONTROL, type RecoveryRecord, type SourceRecord } from '../../src/kafka/control.ts';
import { decideReplaced, type Known } from '../../src/pipelines/recover/replaced.ts';

const AT = '2026-11-24T00:00:00.000Z';
const source = { systemIdentifier: '7000', database: 'platform' };
const OURS = '7000/platform';
const OTHER = '6000/platform';
const THIRD = '5000/platform';

const recordedAs = (systemIdentifier: string): SourceRecord => ({
  session: 5,
  epoch: 3,
  systemIdentifier,
  timeline: 1,
  database: 'platform',
  slot: 'eiq_graph',
  acknowledged: null,
  lastCommit: null,
  loads: {},
  published: {},
  askedAgain: null,
  refusedRequests: 0,
  xids: [],
  ends: {},
  at: AT,
});
const recovery = (previousSources: string[], finishedAt: string | null = null): RecoveryRecord => ({
  epoch: 3,
  reasons: [],
  previousSources,
  beganAt: AT,
  finishedAt,
  ranges: [],
});

/** Kafka was emptied, unless it says otherwise. */
const decide = (known: Pick<Known, 'found'> & Partial<Known>) =>
  decideReplaced({ source, control: NO_CONTROL, named: null, ...known });

function refusal(known: Parameters<typeof decide>[0]) {
  try {
    decide(known);
  } catch (error) {
    if (isAppError(error)) return { code: error.code, said: error.message, remedy: error.remedy };
    throw error;
  }
  return null;
}

const NOTHING = { previousSources: [], held: null, byWordAlone: false };

describe('that nobody names', () => {
  it.each([
    ['ours', OURS],
    ['nobody’s', null],
  ])('a graph that is %s: no record is needed', (_, found) => {
    expect(decide({ found })).toEqual(NOTHING);
  });

  it('the graph of the recorded one', () => {
    const control = { source: recordedAs('6000'), recovery: null };
    const known = { previousSources: [OTHER], byWordAlone: false };
    expect(decide({ found: OTHER, control })).toEqual({ ...known, held: OTHER });
    expect(decide({ found: OURS, control })).toEqual({ ...known, held: null });
  });

  it('the graph of one that an unfinished recovery replaces, not a finished one', () => {
    const begun = { source: recordedAs('7000'), recovery: recovery([OTHER]) };
    expect(decide({ found: OTHER, control: begun })).toEqual({
      previousSources: [OTHER],
      held: OTHER,
      byWordAlone: false,
    });
    const finished = { ...begun, recovery: recovery([OTHER], AT) };
    expect(refusal({ found: OTHER, control: finished })).toMatchObject({ code: 'GRAPH_FOREIGN' });
  });

  it('no other: it says what would have to be named', () => {
    expect(refusal({ found: OTHER })).toEqual({
      code: 'GRAPH_FOREIGN',
      said: `The graph holds the data of another source (system identifier and database ${OTHER}, not ${OURS}).`,
      remedy: expect.stringMatching(
        /^Check DATABASE_URL and NEO4J_URI; .* graph recover --replaces 6000\/platform replaces/,
      ) as string,
    });
  });
});

describe('that is named', () => {
  it('the one whose data the graph holds, beside those that are recorded', () => {
    expect(decide({ found: OTHER, named: OTHER })).toEqual({
      previousSources: [OTHER],
      held: OTHER,
      byWordAlone: true,
    });
    const control = { source: recordedAs('5000'), recovery: null };
    expect(decide({ found: OTHER, named: OTHER, control })).toMatchObject({
      previousSources: [THIRD, OTHER],
      byWordAlone: true,
    });
  });

  it('one that is recorded too: nothing new', () => {
    const control = { source: recordedAs('6000'), recovery: null };
    expect(decide({ found: OTHER, named: OTHER, control })).toMatchObject({ byWordAlone: false });
  });

  it.each([
    ['of another one', OTHER, `the graph holds the data of ${OTHER}`],
    ['ours', OURS, `the graph holds the data of ${OURS}`],
    ['nobody’s', null, 'the graph holds the data of no source yet'],
  ])('not in vain: the graph is %s', (_, found, why) => {
    const control = { source: recordedAs('5000'), recovery: recovery([THIRD], AT) };
    expect(refusal({ found, named: THIRD, control })).toMatchObject({
      code: 'USAGE',
      said: `--replaces names ${THIRD}, but ${why}: nothing is changed.`,
    });
  });

  it('once more, while that recovery is not finished: the graph may be ours by now, not a third one’s', () => {
    const control = { source: recordedAs('7000'), recovery: recovery([OTHER]) };
    const known = { previousSources: [OTHER], byWordAlone: false };
    expect(decide({ found: OTHER, named: OTHER, control })).toEqual({ ...known, held: OTHER });
    expect(decide({ found: OURS, named: OTHER, control })).toEqual({ ...known, held: null });
    expect(refusal({ found: THIRD, named: OTHER, control })).toMatchObject({ code: 'GRAPH_FOREIGN' });
  });
});
