/**
 * What the graph holds of a row, compared by content. What it must hold is the projection's own answer (`project`), so
 * that there is one rule for both; what it holds is what Neo4j says, value by value, types included.
 *
 * Left out: internal properties (`_…`), and labels that the mapping does not name, which the projector leaves alone too.
 */
import { type Stamp, type Verdict, verdictOf } from './drift.ts';
import type { WireRow } from './envelope.ts';
import { isAppError } from './errors.ts';
import type { KeyedMutation } from './graph.ts';
import type { TableMapping } from './mapping.ts';
import { LOWEST_POSITION } from './position.ts';
import { project } from './projection.ts';

/**
 * Names of properties to values; the label of the type, the type and the ends under names that no property can have. A
 * property that is not there is null.
 */
export type Content = ReadonlyMap<string, unknown>;

const LABELS = 'labels()';
const TYPE = 'type()';
const FROM = 'startNode()';
const TO = 'endNode()';
const UNPROJECTABLE = 'row()';

/** What the graph must hold; of a row that cannot be projected, and is a dead letter, something that it never does. */
export function contentOfRow(row: WireRow, table: TableMapping): Content {
  try {
    const record = {
      table: table.table,
      op: 'r',
      position: LOWEST_POSITION,
      before: null,
      after: row,
    } as const;
    const { mutation } = project(record, table);
    return mutation.kind === 'truncate' ? new Map() : contentOf(mutation, table);
  } catch (error) {
    if (!isAppError(error, 'RECORD_MALFORMED')) throw error;
    return new Map([[UNPROJECTABLE, 'cannot be projected']]);
  }
}

function contentOf(mutation: KeyedMutation, { target }: TableMapping): Content {
  const content = new Map<string, unknown>([[target.keyProperty, mutation.key]]);
  if (mutation.kind === 'node-upsert' && target.kind === 'node') {
    content.set(LABELS, mutation.typeLabel);
    for (const [i, { name }] of target.properties.entries()) content.set(name, mutation.values[i]);
  }
  if (mutation.kind === 'relationship-upsert' && target.kind === 'relationship') {
    const { byValue, otherwise } = target.type;
    const variant = [...byValue.values()].find(({ type }) => type === mutation.type) ?? otherwise;
    content.set(TYPE, mutation.type).set(FROM, mutation.from).set(TO, mutation.to);
    for (const [i, { name }] of variant.properties.entries()) content.set(name, mutation.values[i]);
  }
  return content;
}

/** `labels`: those of the node that are labels of types. */
export function contentOfNode(
  labels: readonly string[],
  properties: Readonly<Record<string, unknown>>,
): Content {
  return new Map<string, unknown>(Object.entries(properties)).set(LABELS, textOf(labels));
}

/** The ends: their keys, null for a node that is none of the mapping's. */
export function contentOfRelationship(
  type: string,
  [from, to]: readonly [unknown, unknown],
  properties: Readonly<Record<string, unknown>>,
): Content {
  return new Map<string, unknown>(Object.entries(properties)).set(TYPE, type).set(FROM, from).set(TO, to);
}

/** One label as it is, so that it compares with the mapping's. */
function textOf(labels: readonly string[]): string | null {
  return labels.length === 0 ? null : [...labels].sort().join(', ');
}

/** Names of what differs, sorted. */
export function differing(expected: Content, found: Content): string[] {
  const names = new Set([...expected.keys(), ...found.keys()]);
  return [...names]
    .filter((name) => !internal(name, expected) && !same(expected.get(name), found.get(name)))
    .sort();
}

/** A composite key's property is internal by its name, and compared nevertheless: the mapping has it. */
function internal(name: string, expected: Content): boolean {
  return name.startsWith('_') && !expected.has(name);
}

/** An integer is a bigint, a float a number: they never equal. */
function same(expected: unknown, found: unknown): boolean {
  return (expected ?? null) === (found ?? null);
}

/** One side's entity, with what it holds. */
export interface ContentStamp extends Stamp {
  readonly content: Content;
}

/** As `verdictOf`, but that equal timestamps are not enough. */
export function verdictByContent(source: ContentStamp | null, graph: ContentStamp | null): Verdict | null {
  const verdict = verdictOf(source, graph);
  if (verdict !== 'ok' || source === null || graph === null) return verdict;
  return differing(source.content, graph.content).length > 0 ? 'different' : 'ok';
}

/** Of what bears a row's key in the graph: there must be just one, and it must hold what the row says. */
export function verdictOfAll(expected: Content | null, found: readonly Content[]): Verdict | null {
  const [only, ...more] = found;
  if (expected === null) return only === undefined ? null : 'not_deleted';
  if (only === undefined) return 'missing';
  return more.length === 0 && differing(expected, only).length === 0 ? 'ok' : 'different';
}
