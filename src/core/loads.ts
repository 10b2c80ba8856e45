/** How far the initial load of each table is (design §2): part of what a publisher records. */
import type { KeyParts } from './keys.ts';

export interface TableLoad {
  /** skipped: its older rows were left out on purpose. */
  readonly state: 'loading' | 'loaded' | 'skipped';
  /** Every row up to this key is in Kafka; null: none yet. */
  readonly cursor: KeyParts | null;
  /** As many are in Kafka. */
  readonly rows: number;
  /** About how many there were at its start. */
  readonly expected: number;
  /** ISO 8601. */
  readonly startedAt: string;
}

/** By the table's name; a mapped table without one is still to be loaded. */
export type Loads = Readonly<Record<string, TableLoad>>;

/** Mapped tables of which the graph may lack rows that are older than the slot. */
export function unloaded(loads: Loads, tables: readonly { readonly table: string }[]): string[] {
  return tables
    .map(({ table }) => table)
    .filter((table) => !['loaded', 'skipped'].includes(loads[table]?.state ?? ''));
}

/** Rows a second since it began, and the seconds that the rest takes at that rate; null if not known yet. */
export function paceOf(
  { rows, expected, startedAt }: TableLoad,
  nowMs: number,
): { readonly rate: number; readonly etaSeconds: number | null } {
  const seconds = (nowMs - Date.parse(startedAt)) / 1000;
  const rate = seconds <= 0 ? 0 : Math.round(rows / seconds);
  return { rate, etaSeconds: rate === 0 ? null : Math.ceil(Math.max(0, expected - rows) / rate) };
}

/** For people, of one table: `public.entity: 120000 of about 300000 rows (40 %)`. */
export function describeLoad(table: string, load: TableLoad | undefined): string {
  const { rows, expected } = load ?? { rows: 0, expected: 0 };
  return `${table}: ${rows + expected === 0 ? 'not begun' : describeRows({ rows, expected })}`;
}

/** For people: `120000 of about 300000 rows (40 %)`. */
export function describeRows({ rows, expected }: Pick<TableLoad, 'rows' | 'expected'>): string {
  const percent = Math.min(100, Math.floor((rows * 100) / Math.max(1, expected)));
  return `${rows} of about ${Math.max(rows, expected)} rows (${percent} %)`;
}
