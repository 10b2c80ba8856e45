/**
 * The report of sync-data: exactly the specification's seven fields, alphabetical, ids sorted; others only with their
 * option, or if there is something to say.
 */
import { type Counts, diffs, driftingIds, type SpoolLine, unconfirmedIds } from './check-spool.ts';
import type { Entries, Fields, List } from './report-format.ts';
import type { WholeGraph } from './whole-graph.ts';

export interface CheckReport {
  /** With `--print-diffs`: of what is outdated, strange or different. */
  readonly diffs?: Entries;
  /** With `--deep`: timestamps are equal, so that they are counted as ok as well. */
  readonly entity_ids_different?: List<string>;
  readonly entity_ids_to_delete: List<string>;
  readonly entity_ids_to_reindex: List<string>;
  /** Only if there are any: candidates that could not be confirmed. They are counted nowhere else and not repaired. */
  readonly entity_ids_unconfirmed?: List<string>;
  readonly n_different?: number;
  readonly n_missing: number;
  readonly n_not_deleted: number;
  readonly n_ok: number;
  readonly n_outdated: number;
  readonly n_strange: number;
  readonly n_unconfirmed?: number;
  /** With `--whole-graph`: per table, and of stubs. */
  readonly whole_graph?: Fields;
}

export interface ReportOptions {
  readonly deep: boolean;
  readonly diffs: boolean;
  readonly wholeGraph: WholeGraph | null;
}

/** `lines`: the whole of a check that is finished, each time from the first. */
export function reportOf(
  counts: Counts,
  lines: () => AsyncIterable<SpoolLine>,
  options: ReportOptions = { deep: false, diffs: false, wholeGraph: null },
): CheckReport {
  const { ok, missing, not_deleted, outdated, strange, different, unconfirmed } = counts;
  const { deep, wholeGraph } = options;
  return {
    ...(options.diffs
      ? { diffs: { count: outdated + strange + different, entries: () => diffs(lines()) } }
      : {}),
    ...(deep
      ? { entity_ids_different: { count: different, items: () => driftingIds(lines(), ['different']) } }
      : {}),
    entity_ids_to_delete: { count: not_deleted, items: () => driftingIds(lines(), ['not_deleted']) },
    entity_ids_to_reindex: {
      count: missing + outdated + strange,
      items: () => driftingIds(lines(), ['missing', 'outdated', 'strange']),
    },
    ...(unconfirmed === 0
      ? {}
      : { entity_ids_unconfirmed: { count: unconfirmed, items: () => unconfirmedIds(lines()) } }),
    ...(deep ? { n_different: different } : {}),
    n_missing: missing,
    n_not_deleted: not_deleted,
    n_ok: ok + different,
    n_outdated: outdated,
    n_strange: strange,
    ...(unconfirmed === 0 ? {} : { n_unconfirmed: unconfirmed }),
    ...(wholeGraph === null ? {} : { whole_graph: sectionOf(wholeGraph) }),
  };
}

function sectionOf({ tables, idleStubs, keys }: WholeGraph): Fields {
  const sections = [...tables].map(([table, counts]) => {
    const { ok, missing, not_deleted, different, unconfirmed, unnamed } = counts;
    const fields: Fields = {
      keys_to_delete: { count: not_deleted, items: () => keys(table, ['not_deleted']) },
      keys_to_reindex: { count: missing + different, items: () => keys(table, ['missing', 'different']) },
      n_missing: missing,
      n_not_deleted: not_deleted,
      n_ok: ok,
      n_outdated: different,
      n_unconfirmed: unconfirmed,
      n_unnamed: unnamed,
    };
    return [table, fields] as const;
  });
  return { ...Object.fromEntries(sections), stubs: { n_idle_stubs: idleStubs } };
}

/** Minutes as C's `%.4g` writes them, with `m`: `4.327e-06m`, `0.5m`, `12m`, `1.235e+06m`. */
export function formatTook(minutes: number): string {
  if (minutes === 0) return '0m';
  const [digits = '', exponent = '0'] = minutes.toExponential(3).split('e');
  const power = Number(exponent);
  if (power >= -4 && power < 4) return `${Number(minutes.toPrecision(4))}m`;
  const sign = power < 0 ? '-' : '+';
  return `${Number(digits)}e${sign}${String(Math.abs(power)).padStart(2, '0')}m`;
}
