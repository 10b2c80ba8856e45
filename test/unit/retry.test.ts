import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/core/errors.ts';
import { backoffMs, keepRunning, retry } from '../../src/runtime/retry.ts';

const transient = (cause?: unknown) => new AppError('KAFKA_UNREACHABLE', 'The broker is away.', { cause });
const fatal = () => new AppError('CONFIG_INVALID', 'A setting is wrong.');

describe('keepRunning', () => {
  it('runs again after what may be retried, and rejects with what may not', async () => {
    const failures = [transient(), transient(), fatal()];
    const retried: number[] = [];
    const running = keepRunning(() => Promise.reject(failures.shift() ?? new Error('ran once too often')), {
      signal: new AbortController().signal,
      onRetry: (_error, attempt) => retried.push(attempt),
    });
    await expect(running).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(retried).toEqual([1, 2]);
  });

  it.each([
    ['the reason itself', (reason: Error) => reason],
    ['an AbortError of Node', () => new DOMException('stopped', 'AbortError')],
    ['an AbortError that an adapter wrapped', () => transient(new DOMException('stopped', 'AbortError'))],
    ['the reason, wrapped twice', (reason: Error) => transient(new Error('outer', { cause: reason }))],
  ])('takes %s for a stop once the signal is aborted', async (_name, error) => {
    const stop = new AbortController();
    await keepRunning(
      () => {
        const reason = new Error('stop');
        stop.abort(reason);
        return Promise.reject(error(reason));
      },
      { signal: stop.signal },
    );
  });

  it('does not hide another failure behind a stop', async () => {
    const stop = new AbortController();
    const running = keepRunning(
      () => {
        stop.abort();
        return Promise.reject(fatal());
      },
      { signal: stop.signal },
    );
    await expect(running).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

describe('retry', () => {
  it('gives the first answer, and stops waiting when the signal says so', async () => {
    let attempts = 0;
    const signal = new AbortController().signal;
    const third = await retry(
      () => (++attempts < 3 ? Promise.reject(transient()) : Promise.resolve(attempts)),
      {
        signal,
        initialMs: 1,
      },
    );
    expect(third).toBe(3);

    const stop = new AbortController();
    const waiting = retry(() => Promise.reject(transient()), {
      signal: stop.signal,
      initialMs: 60_000,
      onRetry: () => {
        stop.abort();
      },
    });
    await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
  });
});

describe('backoffMs', () => {
  it.each([
    [1, 0, 50],
    [1, 0.999_999, 100],
    [3, 0, 200],
    [9, 0, 500],
    [2_000, 0, 500],
  ])('attempt %i with random %f pauses %i ms', (attempt, random, expected) => {
    expect(backoffMs(attempt, 100, 1_000, random)).toBe(expected);
  });
});
