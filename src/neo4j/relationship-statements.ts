/**
 * Statements for the relationships of a table; see `cypher.ts` for how they lock, read and count.
 *
 * A relationship that is not there is locked by looking for it: in a writing statement the seek of a unique index keeps
 * an exclusive lock on a key that it did not find. Hence the hint: any other plan would find as much, and lock nothing.
 */
import type { EndMapping, RelationshipTarget, RelationshipVariant } from '../core/mapping.ts';
import {
  BURY,
  deleteWins,
  lostBy,
  mapOf,
  PLANNED_ONCE,
  quote,
  type Rule,
  PLAIN,
  STEADY,
  tombstoneIf,
  unbury,
  when,
  WITH_FLOOR,
} from './cypher.ts';

const FIRST_VALUE = 4;

/**
 * Rows: key, position, from, to, values…
 * Answers `applied`, `vanished`, keys `purged`, `steady`, and `left`: the former ends of what was moved.
 *
 * Only the ends of what is created are merged, after it is known to win: sorted, so that batches lock them in one order.
 * An end that was deleted meanwhile is not found again: its relationship counts as vanished.
 */
export function upsertRelationships(
  target: RelationshipTarget,
  variant: RelationshipVariant,
  rule: Rule,
): string {
  const { from, to, keyProperty } = target;
  const type = quote(variant.type);
  const map = mapOf(
    rule,
    keyProperty,
    variant.properties.map(({ name }) => name),
    FIRST_VALUE,
  );
  return `${PLANNED_ONCE}
${WITH_FLOOR}
UNWIND $batch.rows AS row
${lockedByKey(target, variant.type)}
WITH f, floor, purged, row, r, r[$now._position] AS stored, ${VANISHED} AS vanished, ${ENDS} AS ends
${tombstoneIf('stored IS NULL')}
WITH f, floor, purged, row, r, t, ends, CASE
    WHEN vanished THEN 'vanished'
    ${lostBy(rule, 'r IS NULL')}
    WHEN r IS NULL THEN 'created'
    WHEN ends[0] = row[2] AND ends[1] = row[3] THEN 'updated'
    ELSE 'moved' END AS fate
${when(`fate = 'updated'`, `SET r = ${map}`)}
${when(`fate = 'moved'`, 'DELETE r')}
${when(`fate IN ['created', 'updated', 'moved']`, 'DELETE t')}
WITH f, floor, purged, collect(CASE WHEN fate IN ['created', 'moved'] THEN row END) AS new,
  collect(CASE fate WHEN 'moved' THEN ends END) AS left, collect(CASE fate WHEN 'purged' THEN row[0] END) AS keys,
  count(CASE fate WHEN 'updated' THEN 1 END) AS updated, count(CASE fate WHEN 'vanished' THEN 1 END) AS vanished
${mergeEnds(target)}
CALL (new) {
  UNWIND new AS row
  MATCH (a:${quote(from.label)} {${quote(from.keyProperty)}: row[2]})
  MATCH (b:${quote(to.label)} {${quote(to.keyProperty)}: row[3]})
  CREATE (a)-[r:${type}]->(b) SET r = ${map}
  RETURN count(*) AS created
}
RETURN updated + created AS applied, vanished + size(new) - created AS vanished, keys AS purged, left, ${STEADY}`;
}

/**
 * Rows as those of `upsertRelationships`, none of which may be in the graph: one that is fails the statement. Answers as
 * `createNodes` does; a row without both its ends is not `applied`, and then nothing of it must be committed.
 *
 * Creating a relationship locks its key, before its tombstone is looked for, and its ends: one that is deleted meanwhile
 * fails the statement, one that is to be deleted later has a relationship then.
 */
export function createRelationships(target: RelationshipTarget, variant: RelationshipVariant): string {
  const { from, to, keyProperty } = target;
  const names = variant.properties.map(({ name }) => name);
  return `${PLANNED_ONCE}
${WITH_FLOOR}
UNWIND $batch.rows AS row
MATCH (a:${quote(from.label)} {${quote(from.keyProperty)}: row[2]})
MATCH (b:${quote(to.label)} {${quote(to.keyProperty)}: row[3]})
CREATE (a)-[r:${quote(variant.type)} ${mapOf('newer', keyProperty, names, FIRST_VALUE)}]->(b)
${PLAIN}`;
}

/** Rows: key, position. Answers `applied`, `vanished`, and `left`: the ends of what was deleted. */
export function deleteRelationships(target: RelationshipTarget, type: string, rule: Rule): string {
  return `${PLANNED_ONCE}
UNWIND $batch.rows AS row
${lockedByKey(target, type)}
WITH row, r, r[$now._position] AS stored, ${VANISHED} AS vanished, ${ENDS} AS ends
${deleteWins(rule, 'row, r, vanished, ends')}${rule === 'newer' ? '' : ' AND r IS NOT NULL'}
${BURY}
WITH r, ends, t, vanished OR t[$now.id] IS NULL AS vanished
${unbury(rule)}
DELETE r
RETURN count(*) AS applied, count(CASE WHEN vanished THEN 1 END) AS vanished, collect(ends) AS left`;
}

/** Parameters: position, after (with `more`), limit. Answers the page's `last` key, null at the end, and `left`. */
export function truncateRelationships(target: RelationshipTarget, type: string, more: boolean): string {
  const key = `r.${quote(target.keyProperty)}`;
  return `MATCH ()-[r:${quote(type)}]->() WHERE ${key} ${more ? '> $after' : 'IS NOT NULL'}
WITH r, ${key} AS key ORDER BY key LIMIT $limit
WITH collect(r) AS page, max(key) AS last
CALL (page) {
  UNWIND page AS r
  WITH r WHERE coalesce(r[$now._position], '') < $position
  REMOVE r._lock
  WITH r WHERE coalesce(r[$now._position], '') < $position AND r[$now.key] IS NOT NULL
  WITH r, ${ENDS} AS ends
  DELETE r
  RETURN collect(ends) AS left
}
RETURN last, left`;
}

const VANISHED = 'r IS NOT NULL AND r[$now.key] IS NULL';

function lockedByKey({ keyProperty }: RelationshipTarget, type: string): string {
  return `OPTIONAL MATCH ()-[r:${quote(type)} {${quote(keyProperty)}: row[0]}]->()
USING INDEX SEEK r:${quote(type)}(${quote(keyProperty)})
REMOVE r._lock`;
}

/** Null if there is no relationship. */
const ENDS = 'CASE WHEN r IS NOT NULL THEN [startNode(r)[$now.fromKey], endNode(r)[$now.toKey]] END';

/** Locks them label by label, in the order of keys; those missing become stubs. */
function mergeEnds({ from, to }: RelationshipTarget): string {
  const merge = ({ label, keyProperty }: EndMapping, keys: string) => `CALL (new) {
  UNWIND new AS row
  UNWIND [${keys}] AS key
  WITH DISTINCT key ORDER BY key
  MERGE (n:${quote(label)} {${quote(keyProperty)}: key}) ON CREATE SET n:Stub
  REMOVE n._lock
}`;
  if (from.label === to.label) return merge(from, 'row[2], row[3]');
  const both = [merge(from, 'row[2]'), merge(to, 'row[3]')];
  return (from.label < to.label ? both : both.reverse()).join('\n');
}
