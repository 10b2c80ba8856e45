/** The report of sync-data: exactly the specification's seven fields, alphabetical, ids sorted. */
import { compareIds, type Drift, type Verdict } from './drift.ts';

export interface CheckReport {
  readonly entity_ids_to_delete: readonly string[];
  readonly entity_ids_to_reindex: readonly string[];
  readonly n_missing: number;
  readonly n_not_deleted: number;
  readonly n_ok: number;
  readonly n_outdated: number;
  readonly n_strange: number;
  /** Only if there are any: candidates that could not be confirmed. They are counted nowhere else and not repaired. */
  readonly entity_ids_unconfirmed?: readonly string[];
  readonly n_unconfirmed?: number;
}

export interface Findings {
  readonly ok: number;
  readonly drift: ReadonlyMap<string, Drift>;
  readonly unconfirmed: readonly string[];
}

export function reportOf({ ok, drift, unconfirmed }: Findings): CheckReport {
  const ids: Record<Verdict, string[]> = { ok: [], missing: [], not_deleted: [], outdated: [], strange: [] };
  for (const [id, verdict] of drift) ids[verdict].push(id);
  const { missing, not_deleted, outdated, strange } = ids;
  return {
    entity_ids_to_delete: not_deleted.sort(compareIds),
    entity_ids_to_reindex: [...missing, ...outdated, ...strange].sort(compareIds),
    ...(unconfirmed.length === 0 ? {} : { entity_ids_unconfirmed: [...unconfirmed].sort(compareIds) }),
    n_missing: missing.length,
    n_not_deleted: not_deleted.length,
    n_ok: ok,
    n_outdated: outdated.length,
    n_strange: strange.length,
    ...(unconfirmed.length === 0 ? {} : { n_unconfirmed: unconfirmed.length }),
  };
}

export function formatJson(report: CheckReport): string {
  return `${JSON.stringify(report, null, 2)}\n`;
}

/** A list as its count, then its ids one a line; a number as `name: number`. */
export function formatText(report: CheckReport): string {
  const lines = Object.entries(report).flatMap(([name, value]: [string, number | readonly string[]]) =>
    typeof value === 'number'
      ? [`${name}: ${value}`]
      : [`${name}: ${value.length}`, ...value.map((id) => `  ${id}`)],
  );
  return `${lines.join('\n')}\n`;
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
