import { expect, it } from 'vitest';
import { parseLsn } from '../../src/core/lsn.ts';
import { parseTimelineHistory } from '../../src/postgres/timeline.ts';

it('a history says where each ancestor was left, whatever the reasons say', () => {
  const content = [
    '1\t0/5000000\tno recovery target specified',
    '',
    '# 7\t0/1\tremark',
    '  2\tA/FF\tbefore 2026-11-24 3\t0/9\tx',
    '4\tnonsense',
    '3\t1F/A0000028\t',
  ].join('\n');
  expect([...parseTimelineHistory(content)]).toEqual([
    [1, parseLsn('0/5000000')],
    [2, parseLsn('A/FF')],
    [3, parseLsn('1F/A0000028')],
  ]);
});
