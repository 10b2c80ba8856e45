import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { scanProgress } from '../../src/cli/scan-progress.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function output(isTTY: boolean) {
  const written: string[] = [];
  const stream = { isTTY, write: (text: string) => written.push(text) } as unknown as NodeJS.WriteStream;
  return { stream, written };
}

it('says every 10 s what it does and how far it is, also while nothing moves, and no more after its end', () => {
  const { stream, written } = output(false);
  const progress = scanProgress(stream, 2000);
  progress.at(0);
  progress.at(1000);
  vi.advanceTimersByTime(10_000);
  progress.phase('repairing');
  vi.advanceTimersByTime(10_000);
  progress.end();
  vi.advanceTimersByTime(60_000);
  expect(written.map((line) => JSON.parse(line) as object)).toEqual([
    { event: 'progress', phase: 'starting', compared: 1000, expected: 2000, rate: 100, etaSeconds: 10 },
    { event: 'progress', phase: 'repairing', compared: 1000, expected: 2000, rate: 50, etaSeconds: 20 },
  ]);
});

it('what an earlier run had compared is not its speed', () => {
  const { stream, written } = output(false);
  const progress = scanProgress(stream, 2000);
  progress.at(500);
  progress.at(1500);
  vi.advanceTimersByTime(10_000);
  progress.end();
  expect(written).toHaveLength(1);
  expect(written[0]).toContain('"compared":1500,"expected":2000,"rate":100,"etaSeconds":5');
});

it('is one line that is rewritten on a terminal', () => {
  const { stream, written } = output(true);
  const progress = scanProgress(stream, 10);
  progress.at(0);
  progress.at(5);
  vi.advanceTimersByTime(400);
  progress.end();
  expect(written).toHaveLength(3);
  expect(written[0]).toContain(`starting: ${'█'.repeat(15)}${'░'.repeat(15)} 5 of some 10 entities`);
  expect(written[2]).toBe('\r\u001b[2K');
});
