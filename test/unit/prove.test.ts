import { expect, it } from 'vitest';
import { isAppError } from '../../src/core/errors.ts';
import { lsn } from '../../src/core/lsn.ts';
import { type Check, proveByChecks } from '../../src/pipelines/prove.ts';

const through = (n: number): Check['through'] => ({ lsn: lsn(BigInt(n)), epoch: 1 });
const clean = (n: number): Check => ({
  drift: 0,
  open: 0,
  through: through(n),
  unproved: null,
  compared: 10,
});

async function proved(...checks: readonly Check[]) {
  const left = [...checks];
  const repaired: number[] = [];
  try {
    const proof = await proveByChecks(
      () => Promise.resolve(left.shift() ?? clean(99)),
      (drift) => repaired.push(drift),
    );
    return { proof, repaired, left: left.length };
  } catch (error) {
    if (!isAppError(error, 'NOT_PROVED')) throw error;
    return { proof: null, said: error.message, repaired, left: left.length };
  }
}

it('a check that finds nothing is the proof', async () => {
  expect(await proved(clean(1))).toEqual({
    proof: { lsn: 1n, epoch: 1, compared: 10, repaired: 0 },
    repaired: [],
    left: 0,
  });
});

it('one that had to repair is not: the next one is', async () => {
  const { proof, repaired } = await proved({ ...clean(1), drift: 3 }, { ...clean(2), drift: 1 }, clean(3));
  expect(proof).toMatchObject({ lsn: 3n, repaired: 4 });
  expect(repaired).toEqual([3, 1]);
});

it('one that the source changed under is not, though it found nothing; and in the end it says why', async () => {
  const changed = { ...clean(1), through: null, unproved: 'another epoch began meanwhile' };
  const { proof, repaired } = await proved(changed, clean(2));
  expect(proof).toMatchObject({ lsn: 2n, repaired: 0 });
  // There was nothing to ask for again.
  expect(repaired).toEqual([]);
  expect(await proved(changed, changed, changed)).toMatchObject({
    proof: null,
    said: 'Check 3 of the graph found nothing that differs, and proves nothing: another epoch began meanwhile.',
  });
});

it('what is left open ends it, and so does what differs every time', async () => {
  expect(await proved({ ...clean(1), drift: 2, open: 1, through: null }, clean(2))).toMatchObject({
    proof: null,
    left: 1,
  });
  const differing = { ...clean(1), drift: 1 };
  expect(await proved(differing, differing, differing, clean(2))).toMatchObject({ proof: null, left: 1 });
});
