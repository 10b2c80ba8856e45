/**
 * Canonical content: what two independent readers, one of PostgreSQL and one of Neo4j, must agree on to the byte.
 *
 * One line per row or graph element, a JSON array with `, ` between its members:
 *   ["entity", id, data_id, type, title, tlp, created_at, last_updated_at, data, meta]
 *   ["relation", id, key, subtype, last_updated_at, id of its source, id of its target]
 *   ["extract", id, kind, value, meta, created_at, last_updated_at]
 *   ["link", entity_id, extract_id, "observed" | "sighted" | "linked", link_type if "linked" else null, last_updated_at]
 * Texts are strings; integers (times in microseconds, ids of extracts) are numbers with all their digits. Lines come
 * in this order, within a kind by key. A graph element with more properties than these has their names after its own.
 */
import { createHash } from 'node:crypto';

export interface Canonical {
  /** sha256 over the lines. */
  readonly hash: string;
  /** The lines, of long ones the ends and a digest. */
  readonly lines: readonly string[];
  /** What is wrong with one side by itself, like an element that is there twice. */
  readonly problems: readonly string[];
}

const LONGEST_LINE = 800;

export class CanonicalBuilder {
  readonly #hash = createHash('sha256');
  readonly #lines: string[] = [];
  readonly #problems: string[] = [];

  add(line: string): void {
    this.#hash.update(line).update('\n');
    this.#lines.push(line.length > LONGEST_LINE ? abbreviated(line) : line);
  }

  problem(text: string): void {
    this.#problems.push(text);
  }

  build(): Canonical {
    return { hash: this.#hash.digest('hex'), lines: this.#lines, problems: this.#problems };
  }
}

/** No lines if both sides are right by themselves and equal; else the problems, then at most `most` differing lines. */
export function compareHashes(source: Canonical, sink: Canonical, most = 10): string[] {
  const problems = [...source.problems, ...sink.problems];
  return source.hash === sink.hash ? problems : [...problems, ...diff(source, sink, most)];
}

/** `- ` only in the source, `+ ` only in the sink. Lines that are there twice count twice. */
export function diff(source: Canonical, sink: Canonical, most = 10): string[] {
  const surplus = new Map<string, number>();
  for (const line of source.lines) surplus.set(line, (surplus.get(line) ?? 0) + 1);
  for (const line of sink.lines) surplus.set(line, (surplus.get(line) ?? 0) - 1);
  const differing = [...surplus].filter(([, count]) => count !== 0);
  if (differing.length === 0) return ['the same lines in another order'];
  const shown = differing
    .map(([line, count]) => `${count > 0 ? '-' : '+'} ${line}`)
    .sort((a, b) => (a.slice(2) < b.slice(2) ? -1 : 1));
  return differing.length > most
    ? [...shown.slice(0, most), `and ${differing.length - most} more lines`]
    : shown;
}

/** Equal only for equal lines. */
function abbreviated(line: string): string {
  const digest = createHash('sha256').update(line).digest('hex');
  return `${line.slice(0, 400)} … ${line.slice(-200)} (${line.length} characters, sha256 ${digest})`;
}
