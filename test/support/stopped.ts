/** What the tests of gaps expect of a publisher. */
import { expect } from 'vitest';
import { type Process, within } from './platform.ts';

/** A publisher that has found a gap ends, and says so in one line. */
export async function expectStopped(publisher: Process, reason: RegExp): Promise<void> {
  const ended = await within('it ends', publisher.exited);
  expect(ended, publisher.stderr().slice(-2000)).toBe(1);
  const plain = publisher
    .stderr()
    .split('\n')
    .filter((text) => text !== '' && !text.startsWith('{'));
  expect(plain).toEqual([
    expect.stringMatching(/^The source is not the one that was recorded: .* graph recover/),
  ]);
  expect(plain[0]).toMatch(reason);
}
