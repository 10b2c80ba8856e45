/** Statements for the nodes of a table; see `cypher.ts` for how they lock, read and count. */
import type { NodeTarget } from '../core/mapping.ts';
import {
  BURY,
  deleteWins,
  labelsOf,
  lostBy,
  mapOf,
  PLAIN,
  PLANNED_ONCE,
  quote,
  type Rule,
  STEADY,
  tombstoneIf,
  unbury,
  when,
  WITH_FLOOR,
} from './cypher.ts';

const FIRST_VALUE = 3;

/**
 * Rows: key, position, labels besides the base label, values…
 * Answers `applied`, `vanished`, keys `purged`, and `steady`.
 *
 * A node that the row's MERGE made has the position '' until it is written or removed, which never commits.
 */
export function upsertNodes(target: NodeTarget, rule: Rule): string {
  const { label, keyProperty, properties } = target;
  const map = mapOf(
    rule,
    keyProperty,
    properties.map(({ name }) => name),
    FIRST_VALUE,
  );
  return `${PLANNED_ONCE}
${WITH_FLOOR}
UNWIND $batch.rows AS row
MERGE (n:${quote(label)} {${quote(keyProperty)}: row[0]}) ON CREATE SET n._position = ''
REMOVE n._lock
WITH f, floor, purged, row, n, n[$now._position] AS stored, n[$now.key] IS NULL AS vanished
${tombstoneIf(`coalesce(stored, '') = ''`)}
WITH f, floor, purged, row, n, t, stored, CASE
    WHEN vanished THEN 'vanished'
    ${lostBy(rule, `coalesce(stored, '') = ''`)}
    ELSE 'applied' END AS fate
${when(`fate = 'applied'`, `SET n = ${map}`, 'SET n:$(row[2])', 'DELETE t')}
${when(
  `fate = 'applied' AND size(labels(n)) > 1 + size(row[2])`,
  `REMOVE n:Stub${labelsOf(typeLabelsOf(target))}`,
  'SET n:$(row[2])',
)}
${when(`fate <> 'applied' AND stored = ''`, 'DELETE n')}
WITH f, floor, purged, count(CASE fate WHEN 'applied' THEN 1 END) AS applied,
  count(CASE fate WHEN 'vanished' THEN 1 END) AS vanished, collect(CASE fate WHEN 'purged' THEN row[0] END) AS keys
RETURN applied, vanished, keys AS purged, ${STEADY}`;
}

/**
 * Rows as those of `upsertNodes`, none of which may be in the graph: one that is fails the statement. Answers `applied`;
 * `plain`, whether none of them is forbidden by a tombstone, a floor or what is purged; and `steady`. What is not plain
 * must not be committed.
 *
 * Creating a node locks its key, as merging it does, before its tombstone is looked for.
 */
export function createNodes(target: NodeTarget): string {
  const { label, keyProperty, properties } = target;
  const names = properties.map(({ name }) => name);
  return `${PLANNED_ONCE}
${WITH_FLOOR}
UNWIND $batch.rows AS row
CREATE (n:${quote(label)}:$(row[2]) ${mapOf('newer', keyProperty, names, FIRST_VALUE)})
${PLAIN}`;
}

/**
 * Rows: key, position. Answers `applied` and `vanished`.
 *
 * A node that is not there is merged as well, since that locks its key (not if it must be at a position: then it has
 * moved); a node that still has relationships becomes a stub.
 */
export function deleteNodes(target: NodeTarget, rule: Rule): string {
  const { label, keyProperty } = target;
  return `${PLANNED_ONCE}
UNWIND $batch.rows AS row
${rule === 'newer' ? 'MERGE' : 'MATCH'} (n:${quote(label)} {${quote(keyProperty)}: row[0]})
REMOVE n._lock
WITH row, n, n[$now._position] AS stored, n[$now.key] IS NULL AS vanished
${deleteWins(rule, 'row, n, vanished')}
${BURY}
WITH row[0] AS key, n, t, EXISTS { (n)--() } AS linked, vanished OR t[$now.id] IS NULL AS vanished
${unbury(rule)}
${removeOrStub(target)}
RETURN count(*) AS applied, count(CASE WHEN vanished THEN 1 END) AS vanished`;
}

/** Parameters: position, after (with `more`), limit. Answers the page's `last` key, null at the end. */
export function truncateNodes(target: NodeTarget, more: boolean): string {
  const { label, keyProperty } = target;
  const key = `n.${quote(keyProperty)}`;
  const older = `NOT n:Stub AND coalesce(n[$now._position], '') < $position`;
  return `MATCH (n:${quote(label)}) WHERE ${key} ${more ? '> $after' : 'IS NOT NULL'}
WITH n, ${key} AS key ORDER BY key LIMIT $limit
WITH collect([n, key]) AS page, max(key) AS last
CALL (page) {
  UNWIND page AS one
  WITH one[0] AS n, one[1] AS key
  WITH n, key WHERE ${older}
  REMOVE n._lock
  WITH n, key WHERE ${older} AND n[$now.key] IS NOT NULL
  WITH n, key, EXISTS { (n)--() } AS linked
  ${removeOrStub(target)}
  RETURN count(*) AS removed
}
RETURN last`;
}

/** Rows: keys. Deletes those that are stubs without relationships, looked at once they are locked. */
export function sweepStubs({ label, keyProperty }: Pick<NodeTarget, 'label' | 'keyProperty'>): string {
  return `${PLANNED_ONCE}
UNWIND $batch.rows AS key
MATCH (n:${quote(label)} {${quote(keyProperty)}: key})
REMOVE n._lock
WITH n WHERE n:Stub AND NOT EXISTS { (n)--() }
DELETE n`;
}

function removeOrStub(target: NodeTarget): string {
  const typeLabels = labelsOf(typeLabelsOf(target));
  return `${when(
    'linked',
    `SET n = {${quote(target.keyProperty)}: key}, n:Stub`,
    ...(typeLabels === '' ? [] : [`REMOVE n${typeLabels}`]),
  )}
${when('NOT linked', 'DELETE n')}`;
}

function typeLabelsOf({ labels }: NodeTarget): string[] {
  return [...new Set(labels?.byValue.values() ?? [])];
}
