/** The check of sync-data on two sides that are made up as they are read, with its spool in a real file. */
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportOf } from '../../src/core/check-report.ts';
import { compareTexts } from '../../src/core/keys.ts';
import { reportFile } from '../../src/ops/report-file.ts';
import { spoolFile } from '../../src/ops/spool-file.ts';
import { check, type CheckOptions, type Spool } from '../../src/pipelines/reconcile/check.ts';
import type { EntityContents } from '../../src/pipelines/reconcile/deep.ts';

const OF = { slot: 'a slot', types: null };
const idOf = (n: number) => `id-${String(n).padStart(7, '0')}`;
const numberOf = (id: string) => Number(id.slice(3));
const signal = new AbortController().signal;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'check-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface Reads {
  readonly source: (string | null)[];
  readonly graph: (string | null)[];
}

/** Entities 0 to `count`: those of which `drifts` is true are missing in the graph. */
function sides(count: number, drifts: (n: number) => boolean, batchSize = 1000) {
  const reads: Reads = { source: [], graph: [] };
  function page(has: (n: number) => boolean, after: string | null, upTo: string | null, limit: number) {
    const stamps: { id: string; micros: bigint }[] = [];
    const end = upTo === null ? count : numberOf(upTo) + 1;
    for (let n = after === null ? 0 : numberOf(after) + 1; n < end && stamps.length < limit; n++)
      if (has(n)) stamps.push({ id: idOf(n), micros: 1n });
    return Promise.resolve(stamps);
  }
  const all = (has: (n: number) => boolean) => (ids: readonly string[]) =>
    Promise.resolve(
      ids.filter((id) => has(numberOf(id))).map((id) => ({ id, micros: 1n, version: 'v', position: 'p' })),
    );
  const inGraph = (n: number) => !drifts(n);
  const options: CheckOptions = {
    source: {
      page({ after, upTo }, limit) {
        reads.source.push(after);
        return page(() => true, after, upTo, limit);
      },
      compare: compareTexts,
      canHave: () => true,
      byIds: all(() => true),
      snapshot: () => Promise.resolve({ xmin: 2n, xmax: 2n, next: 2n, running: [], synchronous: false }),
    },
    graph: {
      page(after, limit) {
        reads.graph.push(after);
        return page(inGraph, after, null, limit);
      },
      byIds: all(inGraph),
    },
    filtered: false,
    batchSize,
    ahead: () => 2,
    caughtUp: () => Promise.resolve(),
    maxWaitMs: 10_000,
    readTwice: false,
    onProgress: () => undefined,
    throttle: null,
  };
  return { options, reads };
}

let files = 0;
async function opened(
  results: string,
  resume = false,
  of: object = OF,
  still: string | null = null,
): Promise<Spool> {
  return (await spoolFile(results, resume)).open({ ...of }, still);
}
const nextResults = () => join(folder, `${files++}.json`);

/** Checks, and writes the report. */
async function reported(results: string, options: CheckOptions, spool: Spool): Promise<unknown> {
  const { counts } = await check(options, spool, signal);
  await (await reportFile(results)).write(reportOf(counts, spool.lines));
  return JSON.parse(readFileSync(results, 'utf8'));
}

it('needs no more memory for more drift', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const used: number[] = [];
  const look = () => {
    collect();
    used.push(process.memoryUsage().heapUsed);
  };
  const { options } = sides(300_000, () => true);
  const results = nextResults();
  const spool = await opened(results);
  const onProgress = (compared: number) => {
    if ([30_000, 290_000].includes(compared)) look();
  };
  const { counts } = await check({ ...options, onProgress }, spool, signal);
  expect(counts.missing).toBe(300_000);
  await (await reportFile(results)).write(reportOf(counts, spool.lines));
  look();
  await spool.close();
  expect(statSync(results).size).toBeGreaterThan(300_000 * 17);
  const [early = 0, late = 0, reportWritten = 0] = used;
  // As a Map, 260,000 ids and their verdicts would be 20 MB and more.
  expect(late - early).toBeLessThan(5_000_000);
  expect(reportWritten - early).toBeLessThan(5_000_000);
}, 60_000);

describe('a check that is ended and resumed', () => {
  const drifts = (n: number) => n % 7 === 0 || n % 1000 > 990;
  const BATCH = 10;

  it('reads no page again but those in flight, and reports what one without a break reports', async () => {
    const whole = sides(5000, drifts, BATCH);
    const spool = await opened(nextResults());
    const expected = await reported(nextResults(), whole.options, spool);
    await spool.close();

    for (const pages of [1, 57, 250, 499, 500]) {
      const results = nextResults();
      const ended = new AbortController();
      const first = sides(5000, drifts, BATCH);
      const onProgress = (compared: number) => {
        if (compared === pages * BATCH) ended.abort(new Error('ended'));
      };
      const before = await opened(results);
      const run = check({ ...first.options, onProgress }, before, ended.signal);
      if (pages < 500) await expect(run).rejects.toThrow('ended');
      else await run;
      await before.close();

      const second = sides(5000, drifts, BATCH);
      const after = await opened(results, true);
      expect(await reported(results, second.options, after)).toEqual(expected);
      await after.close();
      expect(second.reads.source[0]).toBe(idOf(pages * BATCH - 1));
      const again = (side: keyof Reads) => {
        const read = new Set(first.reads[side]);
        return second.reads[side].filter((id) => read.has(id)).length;
      };
      expect(again('source')).toBeLessThanOrEqual(3);
      expect(again('graph')).toBeLessThanOrEqual(3);
    }
  });

  it('does not lose the candidates that were yet to be confirmed', async () => {
    const results = nextResults();
    const { options } = sides(5000, drifts, BATCH);
    const before = await opened(results);
    const caughtUp = () => Promise.reject(new Error('ended'));
    await expect(check({ ...options, caughtUp }, before, signal)).rejects.toThrow('ended');
    await before.close();
    const after = await opened(results, true);
    const { counts } = await check(options, after, signal);
    await after.close();
    expect(counts.missing).toBe(Array.from({ length: 5000 }, (_, n) => n).filter(drifts).length);
  });
});

describe('candidates that are too large to be held at once', () => {
  /** 2,500 that are missing in the graph, of which 400 can be held. */
  function large() {
    const { options } = sides(2500, () => true);
    const read: number[] = [];
    const contents: EntityContents = {
      deep: true,
      diffs: false,
      verdict: (row, node) => (row === null ? null : node === null ? 'missing' : 'ok'),
      source: {
        holdable: (ids) => Promise.resolve(Math.min(ids.length, 400)),
        byIds(ids) {
          read.push(ids.length);
          return Promise.resolve(ids.map((id) => ({ id, micros: 1n, version: 'v', content: new Map() })));
        },
      },
      graph: { byIds: () => Promise.resolve([]) },
    };
    return { options: { ...options, contents }, read };
  }

  async function confirmedIn(spool: Spool) {
    const confirmed: number[] = [];
    const ids: string[] = [];
    for await (const line of spool.lines()) {
      if (!('confirmed' in line)) continue;
      confirmed.push(line.confirmed);
      ids.push(...line.drift.map(([id]) => id));
    }
    return { confirmed, ids };
  }
  const all = {
    confirmed: [400, 400, 400, 400, 400, 400, 100],
    ids: Array.from({ length: 2500 }, (_, n) => idOf(n)),
  };

  it('are confirmed in order, as many at a time, until there are none', async () => {
    const { options, read } = large();
    const spool = await opened(nextResults());
    const { counts, open } = await check(options, spool, signal);
    expect([counts.missing, open]).toEqual([2500, []]);
    expect(await confirmedIn(spool)).toEqual(all);
    // Before and after.
    expect(read).toEqual(all.confirmed.flatMap((n) => [n, n]));
    await spool.close();
  });

  it('are not lost, nor confirmed twice, if the check is ended between them', async () => {
    const results = nextResults();
    const { options } = large();
    const before = await opened(results);
    let waits = 0;
    const caughtUp = () => (++waits > 3 ? Promise.reject(new Error('ended')) : Promise.resolve());
    await expect(check({ ...options, caughtUp }, before, signal)).rejects.toThrow('ended');
    await before.close();
    const after = await opened(results, true);
    await check(options, after, signal);
    expect(await confirmedIn(after)).toEqual(all);
    await after.close();
  });
});

describe('the spool', () => {
  const first = { after: 'b', row: 'b', ok: 1, candidates: ['a'] };
  const second = {
    confirmed: 1,
    ok: 0,
    drift: [['a', 'strange' as const] as [string, 'strange']],
    unconfirmed: [],
  };

  async function linesOf(spool: Spool) {
    const lines: unknown[] = [];
    for await (const line of spool.lines()) lines.push(line);
    return lines;
  }
  async function left(): Promise<string> {
    const results = nextResults();
    const spool = await opened(results);
    await Promise.all([spool.append(first), spool.append(second)]);
    await spool.close();
    return results;
  }

  it('is for the owner alone, and goes on behind its last line', async () => {
    const results = await left();
    expect(statSync(`${results}.resume`).mode & 0o777).toBe(0o600);
    const spool = await opened(results, true);
    await spool.append(first);
    expect(await linesOf(spool)).toEqual([first, second, first]);
    await spool.close();
  });

  it('takes no notice of a line that was being written', async () => {
    for (const torn of [
      '{"after":"c","row":"c","ok":1,"cand',
      '{"after":"c","row":"c","ok":1,"candidates":[]}',
    ]) {
      const results = await left();
      appendFileSync(`${results}.resume`, torn);
      const spool = await opened(results, true);
      await spool.append(first);
      expect(await linesOf(spool)).toEqual([first, second, first]);
      await spool.close();
    }
  });

  it('has nothing behind a line that could not be written', async () => {
    const spool = await opened(nextResults());
    const unwritable = { ...first, ok: 1n as unknown as number };
    await expect(spool.append(unwritable)).rejects.toMatchObject({ code: 'REPORT_FAILED' });
    await expect(spool.append(first)).rejects.toMatchObject({ code: 'REPORT_FAILED' });
    expect(await linesOf(spool)).toEqual([]);
    await spool.close();
  });

  it('is begun again unless it is to be resumed, and a link is not followed', async () => {
    const results = await left();
    const target = join(folder, 'target');
    writeFileSync(target, 'kept');
    const fresh = await opened(results);
    expect(await linesOf(fresh)).toEqual([]);
    await fresh.remove();
    await fresh.close();
    symlinkSync(target, `${results}.resume`);
    await expect(opened(results, true)).rejects.toMatchObject({ code: 'REPORT_FAILED' });
    await (await opened(results)).close();
    expect(readFileSync(target, 'utf8')).toBe('kept');
  });

  it('is the file that was opened: what another run puts in its place is not read, nor taken away', async () => {
    const results = nextResults();
    const one = await opened(results);
    await one.append(first);
    const other = await opened(results);
    await Promise.all([one.append(second), other.append(first)]);
    expect(await linesOf(one)).toEqual([first, second]);
    expect(await linesOf(other)).toEqual([first]);
    await one.remove();
    await one.close();
    expect(statSync(`${results}.resume`).size).toBeGreaterThan(0);
    await other.remove();
    await other.close();
    expect(statSync(`${results}.resume`, { throwIfNoEntry: false })).toBeUndefined();
  });

  it.each<[string, (path: string) => void, object, RegExp]>([
    ['that is not there', rmSync, OF, /there is no .*\.json\.resume to go on from/],
    ['of other options', () => undefined, { ...OF, types: ['ttp'] }, /is of other options/],
    [
      'without a whole header',
      (path) => {
        writeFileSync(path, '{"v":1,');
      },
      OF,
      /has nothing to go on from/,
    ],
    [
      'that is another file',
      (path) => {
        writeFileSync(path, 'notes\n');
      },
      OF,
      /is of other options/,
    ],
  ])('%s cannot be resumed', async (_, spoil, of, message) => {
    const results = await left();
    spoil(`${results}.resume`);
    const opening = opened(results, true, of);
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.toMatchObject({ code: 'USAGE' });
  });

  it('of a run without the stream cannot be resumed once that has moved', async () => {
    const results = nextResults();
    await (await opened(results, false, OF, 'here')).close();
    for (const still of ['there', null])
      await expect(opened(results, true, OF, still)).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringMatching(/is from before the stream ran/) as string,
      });
    await (await opened(results, true, OF, 'here')).close();
  });

  it('that is damaged is not gone on from', async () => {
    const results = await left();
    const path = `${results}.resume`;
    writeFileSync(path, readFileSync(path, 'utf8').replace('"strange"', '"odd"'));
    const spool = await opened(results, true);
    await expect(check(sides(1, () => false).options, spool, signal)).rejects.toThrow(/is damaged/);
    await spool.close();
  });
});
