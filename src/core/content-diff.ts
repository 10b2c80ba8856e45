/** Both sides of what differs, for people to look at (`--print-diffs`). */
import { z } from 'zod';
import { type Content, differing } from './content.ts';

const text = z.string().nullable();

export const contentDiff = z.strictObject({
  /** By name: what stands on each side, as text; null: nothing. */
  fields: z.record(z.string(), z.strictObject({ neo4j: text, postgresql: text })),
  last_updated_at_neo4j: text,
  last_updated_at_postgresql: text,
});

export type ContentDiff = z.infer<typeof contentDiff>;

export interface DiffSide {
  readonly micros: bigint | null;
  readonly content: Content;
}

const SHOWN = 200;
/** What is shown before the place where two long values part. */
const LEAD = 40;
const ELLIPSIS = '…';

export function diffOf(source: DiffSide, graph: DiffSide): ContentDiff {
  const fields = differing(source.content, graph.content).map((name) => {
    const [expected, found] = [source.content.get(name) ?? null, graph.content.get(name) ?? null];
    const [postgresql, neo4j] = [textOf(expected), textOf(found)];
    const from = partingOf(postgresql ?? '', neo4j ?? '');
    const otherType = expected !== null && found !== null && typeof expected !== typeof found;
    const shown = cut(neo4j, from);
    return [
      name,
      {
        neo4j:
          otherType && shown !== null ? `${shown} (${TYPE_NAMES[typeof found] ?? 'another type'})` : shown,
        postgresql: cut(postgresql, from),
      },
    ] as const;
  });
  return {
    fields: Object.fromEntries(fields),
    last_updated_at_neo4j: isoMicros(graph.micros),
    last_updated_at_postgresql: isoMicros(source.micros),
  };
}

function textOf(value: unknown): string | null {
  if (value === null || typeof value === 'string') return value;
  if (typeof value === 'bigint' || typeof value === 'number') return String(value);
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? String(part) : part));
}

/** As Neo4j calls it. */
const TYPE_NAMES: Readonly<Record<string, string>> = {
  bigint: 'INTEGER',
  number: 'FLOAT',
  string: 'STRING',
  boolean: 'BOOLEAN',
};

/** Where to begin, so that the first difference is seen. */
function partingOf(a: string, b: string): number {
  let at = 0;
  while (at < a.length && at < b.length && a[at] === b[at]) at++;
  return at < SHOWN - LEAD ? 0 : at - LEAD;
}

/** Says by an ellipsis where something is left out; half a character is left out as well. */
function cut(text: string | null, from: number): string | null {
  if (text === null) return null;
  const middle = text.slice(from, from + SHOWN).replaceAll(/\p{Surrogate}/gu, '');
  return `${from > 0 ? ELLIPSIS : ''}${middle}${text.length > from + SHOWN ? ELLIPSIS : ''}`;
}

const MOST_DATE_MICROS = 8_640_000_000_000_000_000n;

/** ISO 8601 in UTC, to the microsecond; what saturates as PostgreSQL writes it; beyond the reach of a Date the number. */
export function isoMicros(micros: bigint | null): string | null {
  if (micros === null) return null;
  if (micros === BigInt.asIntN(64, 1n << 63n)) return '-infinity';
  if (micros === (1n << 63n) - 1n) return 'infinity';
  if (micros > MOST_DATE_MICROS || micros < -MOST_DATE_MICROS) return `${micros} µs`;
  const fraction = BigInt.asUintN(64, ((micros % 1000n) + 1000n) % 1000n);
  const iso = new Date(Number((micros - fraction) / 1000n)).toISOString();
  return `${iso.slice(0, -1)}${fraction.toString().padStart(3, '0')}Z`;
}
