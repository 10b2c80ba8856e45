/** The report file of sync-data: byte for byte, and there as a whole or not at all. */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type CheckReport, reportOf } from '../../src/core/check-report.ts';
import { compareTexts } from '../../src/core/keys.ts';
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
        .sort((a, b) => compareTexts(a.id, b.id))
        .filter(({ id }) => after === null || compareTexts(id, after) > 0)
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
        (await page(source)(after, limit)).filter(({ id }) => upTo === null || compareTexts(id, upTo) <= 0),
      compare: compareTexts,
      canHave: (id) => source.has(id),
      byIds: byIds(source),
      snapshot: () => Promise.resolve({ xmin: 2n, xmax: 2n, next: 2n, running: [], synchronous: false }),
    },
    graph: { page: page(graph), byIds: byIds(graph) },
    filtered: false,
    batchSize: 100,
    ahead: () => 2,
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

it('has its path to itself, by whatever name, until it is closed', async () => {
  const path = join(folder, 'report.json');
  symlinkSync(folder, join(folder, 'same'));
  const first = await reportFile(path);
  for (const name of [path, join(folder, 'same', 'report.json')])
    await expect(reportFile(name)).rejects.toMatchObject({
      code: 'ALREADY_RUNNING',
      message: `Another run writes to ${name}.`,
    });
  await (await reportFile(join(folder, 'report.txt'))).close();
  await first.close();
  await (await reportFile(path)).close();
});

it('takes away what runs that were killed had begun of it, and nothing else', async () => {
  const begun = (name: string) => {
    writeFileSync(join(folder, name), 'begun');
    return name;
  };
  begun('.report.json.0123456789ab');
  const others = [
    begun('.report.json.0123456789abcd'),
    begun('.report.json.backup'),
    begun('.other.json.0123456789ab'),
    begun('report.json.resume'),
    '.report.json.dddddddddddd',
    '.report.json.eeeeeeeeeeee',
  ];
  mkdirSync(join(folder, '.report.json.dddddddddddd'));
  symlinkSync(join(folder, 'report.json.resume'), join(folder, '.report.json.eeeeeeeeeeee'));
  if (process.geteuid?.() === 0) {
    others.push(begun('.report.json.ffffffffffff'));
    chownSync(join(folder, '.report.json.ffffffffffff'), NOBODY, NOBODY);
  }
  await (await reportFile(join(folder, 'report.json'))).close();
  expect(readdirSync(folder).sort()).toEqual(others.sort());
});

const NOBODY = 65_534;
it('and what a check leaves are refused at once where only their owner may replace them', async (context) => {
  if (process.geteuid?.() !== 0) {
    context.skip('only root can be another user');
    return;
  }
  const path = join(folder, 'report.json');
  chmodSync(folder, 0o1777);
  writeFileSync(path, 'of root');
  writeFileSync(`${path}.resume`, 'of root', { mode: 0o666 });
  const refused = (what: string) => ({
    code: 'USAGE',
    message: `${what}: it belongs to another user, in a folder where only owners replace files.`,
  });
  process.seteuid?.(NOBODY);
  try {
    await expect(reportFile(path)).rejects.toMatchObject(refused(`--check-results-file ${path}`));
    for (const resume of [false, true])
      await expect(spoolFile(path, resume)).rejects.toMatchObject(refused(`${path}.resume`));
    await (await reportFile(join(folder, 'own.json'))).close();
  } finally {
    process.seteuid?.(0);
  }
  // Where anybody may, it is no obstacle.
  chmodSync(folder, 0o777);
  process.seteuid?.(NOBODY);
  try {
    await (await reportFile(path)).close();
  } finally {
    process.seteuid?.(0);
  }
});

it('is refused at once in a folder that cannot be written, or read, with nothing left', async (context) => {
  if (process.geteuid?.() !== 0) {
    context.skip('only root can be another user');
    return;
  }
  for (const mode of [0o555, 0o733]) {
    chmodSync(folder, mode);
    process.seteuid?.(NOBODY);
    try {
      await expect(reportFile(join(folder, 'report.json'))).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringMatching(/its folder cannot be written and read \(EACCES\)\.$/) as string,
      });
    } finally {
      process.seteuid?.(0);
    }
    expect(readdirSync(folder)).toEqual([]);
  }
});
