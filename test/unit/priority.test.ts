import { expect, it } from 'vitest';
import { yieldProcessor } from '../../src/runtime/priority.ts';

it.each<[string, number, number]>([
  ['an ordinary process gives way', 0, 10],
  ['one that was started above others too', -5, 10],
  ['one that gives way already stays there', 10, 10],
  ['one that was started below that is not raised', 19, 19],
])('%s', (_, from, to) => {
  let priority = from;
  yieldProcessor({
    getPriority: () => priority,
    setPriority(...given: readonly number[]) {
      priority = given.at(-1) ?? NaN;
    },
  });
  expect(priority).toBe(to);
});

it('goes on as it was started where the system refuses', () => {
  const refuse = () => {
    throw Object.assign(new Error(), { code: 'ERR_SYSTEM_ERROR' });
  };
  expect(() => {
    yieldProcessor({ getPriority: () => 0, setPriority: refuse });
  }).not.toThrow();
});
