import { expect, it, vi } from 'vitest';
import { whileAlive } from '../../src/runtime/while-alive.ts';

const there = () => Promise.resolve();

/** A promise, and what makes it reject. */
function rejecting(message: string): { promise: Promise<never>; reject: () => void } {
  let reject = (): void => undefined;
  const promise = new Promise<never>((_resolve, fail) => {
    reject = () => {
      fail(new Error(message));
    };
  });
  return { promise, reject };
}

it('is the answer, however many looks it takes', async () => {
  const look = vi.fn(there);
  const answer = vi.waitUntil(() => look.mock.calls.length === 3 && 'the answer', { interval: 1 });
  expect(await whileAlive(answer, look, 1)).toBe('the answer');
});

it('is what the answer rejects with', async () => {
  await expect(whileAlive(Promise.reject(new Error('refused')), there, 1)).rejects.toThrow('refused');
});

it('is given up with what a look rejects with, and what comes of the answer later is nothing', async () => {
  const { promise: answer, reject } = rejecting('cut');
  const look = vi.fn(there).mockRejectedValueOnce(new Error('gone'));
  await expect(whileAlive(answer, look, 1)).rejects.toThrow('gone');
  reject();
  await new Promise(setImmediate);
  expect(look).toHaveBeenCalledTimes(1);
});

it('looks no more once the answer is there, and what comes of the last look is nothing', async () => {
  const { promise: looked, reject } = rejecting('gone');
  const look = vi.fn(() => looked);
  const answer = vi.waitUntil(() => look.mock.calls.length === 1 && 'the answer', { interval: 1 });
  expect(await whileAlive(answer, look, 1)).toBe('the answer');
  reject();
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(look).toHaveBeenCalledTimes(1);
});

it('leaves no timer behind', async () => {
  const timers = () => process.getActiveResourcesInfo().filter((one) => one === 'Timeout').length;
  const before = timers();
  await whileAlive(Promise.resolve(), there, 60_000);
  expect(timers()).toBe(before);
});
