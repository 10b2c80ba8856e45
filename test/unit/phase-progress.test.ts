import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { phaseProgress } from '../../src/cli/phase-progress.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function output(isTTY: boolean, columns = 80) {
  const written: string[] = [];
  const write = (text: string) => written.push(text);
  return { stream: { isTTY, columns, write } as unknown as NodeJS.WriteStream, written };
}
const CLEARED = '\r\u001b[2K';

it('says every 10 s what it does and how far that is, also while nothing moves, and no more after its end', () => {
  const { stream, written } = output(false);
  const progress = phaseProgress(stream);
  progress.at('checking', 0, 2000);
  progress.at('checking', 1000, 2000);
  vi.advanceTimersByTime(10_000);
  progress.at('repairing', 0, 30);
  progress.at('repairing', 20, 30);
  vi.advanceTimersByTime(10_000);
  progress.clear();
  progress.end();
  vi.advanceTimersByTime(60_000);
  expect(written.map((line) => JSON.parse(line) as object)).toEqual([
    { event: 'progress', phase: 'checking', done: 1000, total: 2000, rate: 100, etaSeconds: 10 },
    { event: 'progress', phase: 'repairing', done: 20, total: 30, rate: 2, etaSeconds: 5 },
  ]);
});

it('what an earlier run had done is not its speed', () => {
  const { stream, written } = output(false);
  const progress = phaseProgress(stream);
  progress.at('checking', 500, 2000);
  progress.at('checking', 1500, 2000);
  vi.advanceTimersByTime(10_000);
  progress.end();
  expect(written).toHaveLength(1);
  expect(written[0]).toContain('"done":1500,"total":2000,"rate":100,"etaSeconds":5');
});

it('is one line that is rewritten on a terminal, and makes way for others', () => {
  const { stream, written } = output(true);
  const progress = phaseProgress(stream);
  progress.at('checking', 0, 10);
  progress.at('checking', 5, 10);
  vi.advanceTimersByTime(400);
  progress.clear();
  progress.clear();
  vi.advanceTimersByTime(200);
  progress.end();
  expect(written).toHaveLength(5);
  const half = `${'█'.repeat(15)}${'░'.repeat(15)}`;
  expect(written[0]).toBe(`${CLEARED}checking: ${half} 5 of some 10, 25/s, 1 s to go\r`);
  expect([written[2], written[4]]).toEqual([CLEARED, CLEARED]);
});

it.each<[string, number, string, number | null, string]>([
  ['has no bar of what is of unknown size', 80, 'checking', null, 'checking: 7000000, 35000000/s, ? s to go'],
  [
    'nor where there is no room for one',
    60,
    'other tables',
    9_000_000,
    'other tables: 7000000 of some 9000000, 35000000/s, 1 s to go'.slice(0, 59),
  ],
  [
    'shortens it',
    70,
    'checking',
    9_000_000,
    `checking: ${'█'.repeat(9)}${'░'.repeat(3)} 7000000 of some 9000000, 35000000/s, 1 s to go`,
  ],
  ['is never longer than the terminal is wide', 20, 'checking', null, 'checking: 7000000, '],
  ['says nothing but its name of what is not counted', 80, 'reporting', null, 'reporting …'],
])('%s', (_, columns, phase, total, line) => {
  const { stream, written } = output(true, columns);
  const progress = phaseProgress(stream);
  progress.at(phase, 0, total);
  if (phase !== 'reporting') progress.at(phase, 7_000_000, total);
  vi.advanceTimersByTime(200);
  progress.end();
  expect(written[0]).toBe(`${CLEARED}${line}\r`);
});
