import { expect, it } from 'vitest';
import { createLatch } from '../../src/runtime/latch.ts';

const never = new AbortController().signal;

it('lets nobody pass until it is open, and everybody from then on', async () => {
  const latch = createLatch();
  const passed: number[] = [];
  const waiting = [1, 2].map((who) => latch.passed(never).then(() => passed.push(who)));
  await new Promise(setImmediate);
  expect(passed).toEqual([]);
  latch.open();
  await Promise.all(waiting);
  expect(passed).toEqual([1, 2]);
  await latch.passed(never);
});

it('keeps nobody who is given up, nor is it open by that', async () => {
  const latch = createLatch();
  const one = new AbortController();
  const given = latch.passed(one.signal);
  let other = false;
  void latch.passed(never).then(() => (other = true));
  one.abort();
  await given;
  await latch.passed(one.signal);
  await new Promise(setImmediate);
  expect(other).toBe(false);
});
