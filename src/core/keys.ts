/** Keys as text, as requests and records carry them. */
import type { KeyKind } from './mapping-schema.ts';
import type { KeyColumn } from './mapping.ts';
import { wireInteger } from './values.ts';

/** One text per key column, in the mapping's order. */
export type KeyParts = readonly string[];

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const INTEGER = /^-?\d{1,19}$/;

/** null: no bigint is written so. */
export function int64(text: string): bigint | null {
  const value = INTEGER.test(text) ? BigInt(text) : null;
  return value === null || BigInt.asIntN(64, value) !== value ? null : value;
}

/** As PostgreSQL writes the value; null if no row can have it. */
function canonicalPart(kind: KeyKind, text: string): string | null {
  switch (kind) {
    case 'uuid':
      return UUID.test(text) ? text.toLowerCase() : null;
    case 'bigint':
      return int64(text)?.toString() ?? null;
    case 'text':
      // PostgreSQL has no character 0, and UTF-8 no halves of surrogate pairs.
      return text.includes('\0') || /\p{Surrogate}/u.test(text) ? null : text;
  }
}

/** As PostgreSQL writes the key; null if no row can have it. Throws RangeError if the number of parts is wrong. */
export function canonicalKey(key: readonly KeyColumn[], parts: KeyParts): KeyParts | null {
  if (key.length !== parts.length) throw new RangeError(`the key has ${key.length} parts`);
  const canonical: string[] = [];
  for (const [i, { kind }] of key.entries()) {
    const part = canonicalPart(kind, parts[i] ?? '');
    if (part === null) return null;
    canonical.push(part);
  }
  return canonical;
}

/** Of keys of one column, as PostgreSQL writes them. */
export type CompareKeys = (a: string, b: string) => number;

/** The order that both servers have. */
export function comparatorOf(kind: KeyKind): CompareKeys {
  return kind === 'bigint' ? compareIntegers : compareTexts;
}

/** UTF-8 bytes, PostgreSQL's `collate "C"`. JavaScript's `<` is another one. */
export function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function compareIntegers(a: string, b: string): number {
  if (a === b) return 0;
  return BigInt(a) < BigInt(b) ? -1 : 1;
}

/** Tells a table's keys, which have the same number of parts, from each other. */
export function keyText(parts: KeyParts): string {
  const [only] = parts;
  return only !== undefined && parts.length === 1 ? only : JSON.stringify(parts);
}

/** The key of a record, as `rowEncoder` writes it for a row: but the parts may be any text (a foreign node's id). */
export function keyJson(key: readonly KeyColumn[], parts: KeyParts): string {
  const members = key.map(({ name, kind }, i) => {
    const part = parts[i] ?? '';
    const integer = kind === 'bigint' && canonicalPart(kind, part) === part;
    return `${JSON.stringify(name)}:${integer ? wireInteger(part) : JSON.stringify(part)}`;
  });
  return `{${members.join(',')}}`;
}

/** The key of a node or relationship, as the graph stores it. */
export type GraphKey = string | bigint;

/** The key that a record with these parts is about. */
export function graphKey(key: readonly KeyColumn[], parts: KeyParts): GraphKey {
  const standing = key.map(({ kind }, i) => {
    const part = parts[i] ?? '';
    return kind === 'bigint' ? (int64(part) ?? part) : part;
  });
  const [only, ...more] = standing;
  return only !== undefined && more.length === 0 ? only : JSON.stringify(standing.map(String));
}

/** The parts by which a request names what bears this key in the graph; null: none does, so that no row is meant. */
export function partsOf(key: readonly KeyColumn[], stored: unknown): KeyParts | null {
  const parts = key.length === 1 ? [String(stored)] : textsIn(stored);
  return parts?.length === key.length && graphKey(key, parts) === stored ? parts : null;
}

/** Of a composite key as JSON; null: it is none. A larger number is none either: it would be read as another one. */
export function textsIn(json: unknown): string[] | null {
  try {
    const parts: unknown = typeof json === 'string' ? JSON.parse(json) : null;
    return Array.isArray(parts) && parts.every(isPart) ? parts.map(String) : null;
  } catch {
    return null;
  }
}

function isPart(part: unknown): boolean {
  return typeof part === 'string' || Number.isSafeInteger(part);
}
