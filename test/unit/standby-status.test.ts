import { describe, expect, it } from 'vitest';
import { LSN_ZERO, parseLsn } from '../../src/core/lsn.ts';
import { standbyStatus } from '../../src/postgres/standby-status.ts';

describe('standby status', () => {
  it('says exactly the LSN three times, then the time since 2000, then whether to answer', () => {
    const status = standbyStatus(parseLsn('1A/FFFFFFFF'), Date.UTC(2000, 0, 1) + 1.5, true);
    expect(status.toString('hex')).toBe(
      '72' + '0000001affffffff'.repeat(3) + 1500n.toString(16).padStart(16, '0') + '01',
    );
  });

  it('is 0/0 while nothing is acknowledged', () => {
    const status = standbyStatus(LSN_ZERO, Date.UTC(2000, 0, 1), false);
    expect(status.toString('hex')).toBe('72' + '00'.repeat(33));
  });
});
