/**
 * What a check of sync-data finds, as lines that are appended to a file: nothing of the size of the drift is held in
 * memory, and a run that was ended goes on from there.
 *
 *   header     what the lines belong to
 *   page       compared up to there; its candidates are open: they differ, and that is yet to be confirmed
 *   confirmed  what became of the candidates that had been open for longest
 *   compared   of another table (`--whole-graph`), after all of these: what was found and confirmed
 *   idle       keys of stubs that nothing holds
 *
 * Pages are in the order of keys, and candidates are confirmed in that order: ids are sorted as they stand.
 */
import { z } from 'zod';
import { type ContentDiff, contentDiff } from './content-diff.ts';
import type { Drift } from './drift.ts';

const count = z.int().nonnegative();
const ids = z.array(z.string());

const header = z.strictObject({
  v: z.literal(1),
  of: z.string(),
  /** Of a run without the stream: where the stream stood. */
  still: z.string().optional(),
});
const page = z.strictObject({
  /** The last id compared, of either side. */
  after: z.string(),
  /** The last one that was a row: unlike a foreign node's id, it fits the type of the key. */
  row: z.string().nullable(),
  ok: count,
  candidates: ids,
});
const confirmed = z.strictObject({
  /** How many candidates this is about. */
  confirmed: count,
  ok: count,
  drift: z.array(
    z.tuple([z.string(), z.enum(['missing', 'not_deleted', 'outdated', 'strange', 'different'])]),
  ),
  unconfirmed: ids,
  /** Only if they are asked for: both sides of what drifts and is on both. */
  diffs: z.array(z.tuple([z.string(), contentDiff])).optional(),
});
const key = z.array(z.string());
/** Of the run of this id: a run that goes on from a spool compares whole tables from the start. */
const compared = z.strictObject({
  whole: z.string(),
  table: z.string(),
  ok: count,
  drift: z.array(z.tuple([key, z.enum(['missing', 'not_deleted', 'different'])])),
  unconfirmed: count,
  /** What no request can name. */
  unnamed: count,
});
const idle = z.strictObject({ whole: z.string(), table: z.string(), idle: z.array(key) });

const line = z.union([page, confirmed, compared, idle]);

export type SpoolHeader = z.infer<typeof header>;
export type SpoolLine = z.infer<typeof line>;

/** null: it is none. */
export function parseHeader(text: string): SpoolHeader | null {
  return header.safeParse(jsonOf(text)).data ?? null;
}

/** null: it is none. */
export function parseSpoolLine(text: string): SpoolLine | null {
  return line.safeParse(jsonOf(text)).data ?? null;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export type Counts = Readonly<Record<Drift | 'ok' | 'unconfirmed', number>>;

/** Where a scan begins: after an id of either side, and the last row up to there. */
export type ScanStart = Readonly<Pick<z.infer<typeof page>, 'after' | 'row'>>;

export interface CheckState {
  readonly counts: Counts;
  /** null: nothing is compared yet. */
  readonly start: ScanStart | null;
  readonly open: readonly string[];
}

export async function stateOf(lines: AsyncIterable<SpoolLine>): Promise<CheckState> {
  const counts = { ok: 0, missing: 0, not_deleted: 0, outdated: 0, strange: 0, different: 0, unconfirmed: 0 };
  let start: ScanStart | null = null;
  let open: readonly string[] = [];
  for await (const found of lines) {
    if ('whole' in found) continue;
    counts.ok += found.ok;
    if ('after' in found) {
      start = { after: found.after, row: found.row };
      open = open.concat(found.candidates);
      continue;
    }
    open = open.slice(found.confirmed);
    counts.unconfirmed += found.unconfirmed.length;
    for (const [, verdict] of found.drift) counts[verdict]++;
  }
  return { counts, start, open };
}

/** The ids of these verdicts. */
export async function* driftingIds(
  lines: AsyncIterable<SpoolLine>,
  verdicts: readonly Drift[],
): AsyncGenerator<string> {
  for await (const found of lines) {
    if (!('confirmed' in found)) continue;
    for (const [id, verdict] of found.drift) if (verdicts.includes(verdict)) yield id;
  }
}

export async function* unconfirmedIds(lines: AsyncIterable<SpoolLine>): AsyncGenerator<string> {
  for await (const found of lines) if ('confirmed' in found) yield* found.unconfirmed;
}

/** Of what drifts and is on both sides. */
export async function* diffs(
  lines: AsyncIterable<SpoolLine>,
): AsyncGenerator<readonly [id: string, diff: ContentDiff]> {
  for await (const found of lines) if ('confirmed' in found) yield* found.diffs ?? [];
}
