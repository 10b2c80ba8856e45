/** The report file of sync-data: byte for byte, and there as a whole or not at all. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type CheckReport, reportOf } from '../../src/core/check-report.ts';
import { compareIds } from '../../src/core/drift.ts';
import { reportFile } from '../../src/ops/report-file.ts';
import { spoolFile } from '../../src/ops/spool-file.ts';
import { check, type CheckOptions } from '../../src/pipelines/reconcile/check.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'report-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const ALIKE = Array.from(
  { length: 2287 },
  (_, n) => `10000000-0000-4000-8000-${String(n).padStart(12, '0')}`,
);
const STRANGE = '05000000-0000-4000-8000-000000000005';
const source = new Map<string, bigint>([
  [STRANGE, 2n],
  ['393c0d67-89ac-4a41-9d50-853c9bd0f034', 2n],
  ['a0000000-0000-4000-8000-000000000001', 2n],
  ...ALIKE.map((id) => [id, 2n] as const),
]);
const graph = new Map<string, bigint>([
  [STRANGE, 3n],
  ['393c0d67-89ac-4a41-9d50-853c9bd0f034', 1n],
  ...['Foreign "node"', 'f47ac10b-58cc-4372-a567-0e02b2c3d479', '\uff5e', '\ud83e\udd8a'].map(
    (id) => [id, 1n] as const,
  ),
  ...ALIKE.map((id) => [id, 2n] as const),
]);

/** One that is confirmed after all the others, since its row has another version at each of the first few looks. */
function sides(): CheckOptions {
  let looks = 0;
  const page = (side: ReadonlyMap<string, bigint>) => (after: string | null, limit: number) =>
    Promise.resolve(
      [...side]
        .map(([id, micros]) => ({ id, micros }))
        .sort((a, b) => compareIds(a.id, b.id))
        .filter(({ id }) => after === null || compareIds(id, after) > 0)
        .slice(0, limit),
    );
  const byIds = (side: ReadonlyMap<string, bigint>) => (ids: readonly string[]) =>
    Promise.resolve(
      ids.flatMap((id) => {
        const micros = side.get(id);
        const version = id === STRANGE ? `v${Math.min(looks++, 4)}` : 'v';
        return micros === undefined ? [] : [{ id, micros, version, position: 'p' }];
      }),
    );
  return {
    source: {
      page: async ({ after, upTo }, limit) =>
        (await page(source)(after, limit)).filter(({ id }) => upTo === null || compareIds(id, upTo) <= 0),
      canHave: (id) => source.has(id),
      byIds: byIds(source),
      snapshot: () => Promise.resolve({ xmin: 2n, xmax: 2n, next: 2n, running: [], synchronous: false }),
    },
    graph: { page: page(graph), byIds: byIds(graph) },
    filtered: false,
    reading: () => ({ batchSize: 100, ahead: 2 }),
    caughtUp: () => Promise.resolve(),
    maxWaitMs: 10_000,
    readTwice: false,
    onProgress: () => undefined,
    throttle: null,
  };
}

async function* given(ids: readonly string[], meanwhile: () => void = () => undefined) {
  for (const id of ids) {
    yield await Promise.resolve(id);
    meanwhile();
  }
}
const reportWith = (items: () => AsyncIterable<string>): CheckReport => ({
  entity_ids_to_delete: { count: ALIKE.length, items },
  entity_ids_to_reindex: { count: 0, items: () => given([]) },
  n_missing: 0,
  n_not_deleted: ALIKE.length,
  n_ok: 0,
  n_outdated: 0,
  n_strange: 0,
});

it.each(['json', 'txt'])('is the golden .%s, byte for byte, for its owner alone', async (extension) => {
  const path = join(folder, `report.${extension}`);
  const spool = await (await spoolFile(path, false)).open({});
  const { counts } = await check(sides(), spool, new AbortController().signal);
  await (await reportFile(path)).write(reportOf(counts, spool.lines));
  await spool.remove();
  await spool.close();
  expect(readFileSync(path, 'utf8')).toBe(readFileSync(`test/golden/check-report.${extension}`, 'utf8'));
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual([`report.${extension}`]);
});

it.each(['json', 'txt'])('as .%s is the former one until it is whole', async (extension) => {
  const path = join(folder, `report.${extension}`);
  writeFileSync(path, 'the former one');
  let looks = 0;
  const ids = () =>
    given(ALIKE, () => {
      looks++;
      if (readFileSync(path, 'utf8') !== 'the former one') throw new Error('it is not');
    });
  await (await reportFile(path)).write(reportWith(ids));
  expect(looks).toBe(ALIKE.length);
  expect(readFileSync(path, 'utf8')).toMatch(extension === 'json' ? /^\{.*\}\n$/s : /n_strange: 0\n$/);
  expect(readdirSync(folder)).toEqual([`report.${extension}`]);
});

it('stays the former one, with nothing beside it, if it cannot be written to its end', async () => {
  const path = join(folder, 'report.json');
  writeFileSync(path, 'the former one');
  let looks = 0;
  const ids = () =>
    given(ALIKE, () => {
      if (looks++ === 1500) throw Object.assign(new Error(), { code: 'EIO' });
    });
  await expect((await reportFile(path)).write(reportWith(ids))).rejects.toMatchObject({
    code: 'REPORT_FAILED',
    message: `The report ${path} could not be written (EIO).`,
  });
  expect(readFileSync(path, 'utf8')).toBe('the former one');
  expect(readdirSync(folder)).toEqual(['report.json']);
});
