import { describe, expect, it } from 'vitest';
import { createLiveness } from '../../src/postgres/liveness.ts';

describe('liveness', () => {
  it('counts from the opening until something is heard', () => {
    expect(createLiveness(1000).agoMs(1400)).toBe(400);
  });

  it('does not mind that the clocks differ', () => {
    const liveness = createLiveness(0);
    liveness.heard(1_000_000, 10);
    expect(liveness.agoMs(25)).toBe(15);
  });

  it('does not take what waited in a buffer for news', () => {
    const liveness = createLiveness(0);
    liveness.heard(1_000_000, 10);
    // This process was stopped for a minute; then it reads what was sent just after.
    liveness.heard(1_000_005, 60_010);
    expect(liveness.agoMs(60_010)).toBe(59_995);
  });

  it('follows clocks that drift apart', () => {
    const liveness = createLiveness(0);
    for (let i = 0; i <= 100; i += 1) liveness.heard(1_000_000 + i * 10_000, i * 10_010);
    expect(liveness.agoMs(100 * 10_010)).toBeLessThan(700);
  });

  it('trusts what was found out by other means', () => {
    const liveness = createLiveness(0);
    liveness.heard(1_000_000, 10);
    liveness.confirmed(60_000);
    expect(liveness.agoMs(60_010)).toBe(10);
  });

  it('is never negative', () => {
    const liveness = createLiveness(1000);
    expect(liveness.agoMs(900)).toBe(0);
  });
});
