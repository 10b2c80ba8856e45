/**
 * The report of sync-data: exactly the specification's seven fields, alphabetical, ids sorted. It is written as its ids
 * are read, so that there may be any number of them.
 */
import { batchesOf } from './batches.ts';
import { type Counts, driftingIds, type SpoolLine, unconfirmedIds } from './check-spool.ts';

export interface IdList {
  readonly count: number;
  /** In the order of `compareIds`, each time from the first. */
  readonly ids: () => AsyncIterable<string>;
}

export interface CheckReport {
  readonly entity_ids_to_delete: IdList;
  readonly entity_ids_to_reindex: IdList;
  /** Only if there are any: candidates that could not be confirmed. They are counted nowhere else and not repaired. */
  readonly entity_ids_unconfirmed?: IdList;
  readonly n_missing: number;
  readonly n_not_deleted: number;
  readonly n_ok: number;
  readonly n_outdated: number;
  readonly n_strange: number;
  readonly n_unconfirmed?: number;
}

/** `lines`: the whole of a check that is finished, each time from the first. */
export function reportOf(counts: Counts, lines: () => AsyncIterable<SpoolLine>): CheckReport {
  const { ok, missing, not_deleted, outdated, strange, unconfirmed } = counts;
  return {
    entity_ids_to_delete: { count: not_deleted, ids: () => driftingIds(lines(), ['not_deleted']) },
    entity_ids_to_reindex: {
      count: missing + outdated + strange,
      ids: () => driftingIds(lines(), ['missing', 'outdated', 'strange']),
    },
    ...(unconfirmed === 0
      ? {}
      : { entity_ids_unconfirmed: { count: unconfirmed, ids: () => unconfirmedIds(lines()) } }),
    n_missing: missing,
    n_not_deleted: not_deleted,
    n_ok: ok,
    n_outdated: outdated,
    n_strange: strange,
    ...(unconfirmed === 0 ? {} : { n_unconfirmed: unconfirmed }),
  };
}

const IDS_AT_ONCE = 1000;

/** As `JSON.stringify(…, null, 2)` writes it, in pieces. */
export async function* formatJson(report: CheckReport): AsyncGenerator<string> {
  let opening = '{';
  for (const [name, field] of fieldsOf(report)) {
    yield `${opening}\n  "${name}": `;
    opening = ',';
    if (typeof field === 'number') yield String(field);
    else if (field.count === 0) yield '[]';
    else {
      let before = '[';
      for await (const ids of batchesOf(field.ids(), IDS_AT_ONCE)) {
        yield `${before}\n${ids.map((id) => `    ${JSON.stringify(id)}`).join(',\n')}`;
        before = ',';
      }
      yield '\n  ]';
    }
  }
  yield '\n}\n';
}

/** In pieces: a list as its count, then its ids one a line; a number as `name: number`. */
export async function* formatText(report: CheckReport): AsyncGenerator<string> {
  for (const [name, field] of fieldsOf(report)) {
    if (typeof field === 'number') yield `${name}: ${field}\n`;
    else {
      yield `${name}: ${field.count}\n`;
      for await (const ids of batchesOf(field.ids(), IDS_AT_ONCE))
        yield ids.map((id) => `  ${id}\n`).join('');
    }
  }
}

function fieldsOf(report: CheckReport): [name: string, field: number | IdList][] {
  return Object.entries(report);
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
