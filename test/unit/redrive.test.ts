/** What a redrive asks for, at the pace of a repair. */
import { expect, it } from 'vitest';
import { parseRepublishRequest } from '../../src/core/messages.ts';
import type { OpenLetter } from '../../src/kafka/dead-letters.ts';
import { byRequest } from '../../src/pipelines/reconcile/ask.ts';
import { redrive } from '../../src/pipelines/redrive.ts';
import type { Sql } from '../../src/postgres/client.ts';
import { testMapping } from '../support/test-mapping.ts';

const { mapping, table } = testMapping('redrive');
const { topic } = table('public.entity');
const letter = (n: number, key: string | null = JSON.stringify({ id: `entity ${n}` })): OpenLetter => ({
  id: String(n),
  topic,
  key,
  reason: { code: 'NEO4J_REJECTED', message: '' },
  size: 0,
  at: '2024-06-01T00:00:00Z',
});

it('a key that no request may list voids none', async () => {
  const asked: string[] = [];
  const sql: Sql = {
    query<Row extends object>(_: string, values: readonly unknown[] = []) {
      asked.push(String(values[1]));
      return Promise.resolve([{ lsn: '0/1' }] as unknown as Row[]);
    },
  };
  const ask = byRequest(sql, 'run', null);
  await ask(table('public.entity'), [['a'], ['x'.repeat(20_000)], ['b']], new AbortController().signal);
  expect(asked.map((text) => parseRepublishRequest(Buffer.from(text)))).toMatchObject([
    { keys: [['a'], ['b']] },
  ]);
});

it('lets the stream catch up between requests; what failed again and what no row can answer is told apart', async () => {
  const said: string[] = [];
  const sql: Sql = {
    query<Row extends object>(_: string, values: readonly unknown[] = []) {
      const { keys, reason } = JSON.parse(String(values[1])) as { keys: unknown[]; reason: string };
      said.push(`${reason} ${keys.length}`);
      return Promise.resolve([{ lsn: '0/1' }] as unknown as Row[]);
    },
  };
  const pace = () => Promise.resolve(void said.push('pace'));
  const letters = Array.from({ length: 5500 }, (_, n) => letter(n));
  const unnamed = [
    letter(-1, null),
    letter(-2, 'no json'),
    { ...letter(-3), topic: 'of no table' },
    letter(-4, JSON.stringify({ id: 'x'.repeat(20_000) })),
  ];
  const [first = letter(0), ...others] = letters;
  const settled: OpenLetter[] = [];
  const redriven = await redrive(
    {
      mapping,
      letters: [...unnamed, ...letters],
      ask: byRequest(sql, 'run', pace, 'redrive'),
      caughtUp: () => Promise.resolve(void said.push('caught up')),
      // The first one has failed again: another letter is in its place.
      openLetters: () => Promise.resolve([...unnamed, letter(9999), ...others]),
      settle: (some) => Promise.resolve(void settled.push(...some)),
    },
    new AbortController().signal,
  );
  const full = 'redrive 1000';
  expect(said).toEqual([full, full, full, full, 'pace', full, 'redrive 500', 'caught up']);
  expect(redriven).toEqual({ settled: others, failedAgain: [first], unnamed });
  expect(settled).toEqual(others);
});
