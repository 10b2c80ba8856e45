import { expect, it } from 'vitest';
import { waitForAnswers, type WaitSources } from '../../src/pipelines/wait.ts';
import { testMapping } from '../support/test-mapping.ts';

const { mapping } = testMapping('wait');

/** Markers stand at 0/100, 0/200 and so on, each published as soon as it is there. */
function sources(askedAgain: readonly (string | null)[]): {
  readonly sources: WaitSources;
  readonly emitted: () => number;
} {
  let emitted = 0;
  let looked = 0;
  const lsn = () => `0/${emitted}00`;
  const answer = (text: string): object =>
    text.includes('pg_logical_emit_message')
      ? ((emitted += 1), { lsn: lsn() })
      : { confirmed_flush: lsn(), restart: null, lag_bytes: '0', retained_bytes: null, active_pid: 1 };
  return {
    emitted: () => emitted,
    sources: {
      mapping,
      sql: { query: <Row extends object>(text: string) => Promise.resolve([answer(text) as Row]) },
      recorded: () =>
        Promise.resolve({ loads: {}, recovering: null, askedAgain: askedAgain[looked++] ?? null }),
      topicEnds: () => Promise.resolve([]),
      progress: () => Promise.resolve([]),
    },
  };
}

it.each<[string, (string | null)[], number]>([
  ['nothing was asked for again', [null], 1],
  ['what was, is before our marker', ['0/FF'], 1],
  ['what was, is behind our marker', ['0/101', '0/101'], 2],
  ['it is again and again', ['0/101', '0/201', '0/2FF'], 3],
])('answers are there behind as many markers as it takes: %s', async (_, askedAgain, markers) => {
  const { sources: of, emitted } = sources(askedAgain);
  await waitForAnswers(of, 5_000, new AbortController().signal);
  expect(emitted()).toBe(markers);
});
