import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { requireConfirmation } from '../../src/cli/confirmation.ts';

const asked = { question: 'Type the name, threats, to go on: ', word: 'threats' };
const goesOn = new AbortController().signal;

const terminal = () => Object.assign(new PassThrough(), { isTTY: true });

function typed(...lines: readonly string[]): Promise<void> {
  const input = terminal();
  input.end(lines.map((line) => `${line}\n`).join(''));
  return requireConfirmation(asked, input, new PassThrough(), goesOn);
}

it('takes the word for a yes, and nothing else: not the end of the input either', async () => {
  await typed('threats');
  await typed(' threats ');
  for (const lines of [[], [''], ['yes'], ['neo4j'], ['y', 'threats']])
    await expect(typed(...lines), lines.join()).rejects.toThrow(/^Not confirmed: nothing is changed/);
});

it('asks on a terminal alone: what may be silent for ever is not waited for', async () => {
  const output = new PassThrough();
  await expect(requireConfirmation(asked, new PassThrough(), output, goesOn)).rejects.toThrow(/--yes/);
  expect(output.read()).toBeNull();
});

it('ends by the signal while nothing is typed, before it is asked for too', async () => {
  for (const late of [true, false]) {
    const stop = new AbortController();
    if (!late) stop.abort('SIGINT');
    const output = new PassThrough();
    const ended = requireConfirmation(asked, terminal(), output, stop.signal);
    if (late) stop.abort('SIGINT');
    await expect(ended).rejects.toBe('SIGINT');
    expect(String(output.read())).toMatch(/^Type the name/);
  }
});
