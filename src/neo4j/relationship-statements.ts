/**
 * Statements for the relationships of a table; see `cypher.ts` for how they lock, read and count.
 *
 * A relationship that is not there is locked by looking for it: in a writing statement the seek of a unique index keeps
 * an exclusive lock on a key that it did not find. Hence the hint: any other plan would find as much, and lock nothing.
 *
 * By one mapping a key has one type, which is all that the stream's upserts look at. By an earlier one it may have had
 * another, and still stand under that: what looks under all types of its table locks the key type by type, in one order,
 * and goes by the newest that it finds.
 */
import {
  type EndMapping,
  type RelationshipTarget,
  relationshipTypes,
  type RelationshipVariant,
} from '../core/mapping.ts';
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
  TOMBSTONE,
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
 *
 * `thorough`: under all types of the table, so that nothing newer stands under another one, and nothing older stays there.
 */
export function upsertRelationships(
  target: RelationshipTarget,
  variant: RelationshipVariant,
  rule: Rule,
  { thorough }: { readonly thorough: boolean },
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
${thorough ? lockedUnderAll(target, variant.type) : lockedUnderOwn(target, variant.type)}
WITH f, floor, purged, row, r, t, ends${thorough ? ', others, gone' : ''}, CASE
    WHEN vanished THEN 'vanished'
    ${lostBy(rule, thorough ? 'r IS NULL AND size(gone) = 0' : 'r IS NULL')}
    WHEN r IS NULL THEN 'created'
    WHEN ends[0] = row[2] AND ends[1] = row[3] THEN 'updated'
    ELSE 'moved' END AS fate
${when(`fate = 'updated'`, `SET r = ${map}`)}
${when(`fate = 'moved'`, 'DELETE r')}
${when(APPLIED, 'DELETE t', ...(thorough ? [DELETE_OTHERS] : []))}
WITH f, floor, purged, collect(CASE WHEN fate IN ['created', 'moved'] THEN row END) AS new,
  collect(CASE fate WHEN 'moved' THEN ends END)${thorough ? leftElsewhere(target) : ''} AS left, collect(CASE fate WHEN 'purged' THEN row[0] END) AS keys,
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

/** Rows: key, position, of any type. Answers `applied`, `vanished`, and `left`: the ends of what was deleted. */
export function deleteRelationships(target: RelationshipTarget, rule: Rule): string {
  const [type = '', ...more] = relationshipTypes(target);
  if (more.length > 0) return deleteUnderAll(target, rule);
  return `${PLANNED_ONCE}
UNWIND $batch.rows AS row
${lockedByKey(target, type, 'r')}
WITH row, r, r[$now._position] AS stored, ${VANISHED} AS vanished, ${ENDS} AS ends
${deleteWins(rule, 'row, r, vanished, ends')}${rule === 'newer' ? '' : ' AND r IS NOT NULL'}
${BURY}
WITH r, ends, t, vanished OR t[$now.id] IS NULL AS vanished
${unbury(rule)}
DELETE r
RETURN count(*) AS applied, count(CASE WHEN vanished THEN 1 END) AS vanished, collect(ends) AS left`;
}

function deleteUnderAll(target: RelationshipTarget, rule: Rule): string {
  const names = relationshipTypes(target).map((_, i) => `r${i}`);
  return `${PLANNED_ONCE}
UNWIND $batch.rows AS row
${lockedTypeByType(target, names, 'row')}
WITH row, ${listOf(names)} AS found
WITH row, found, ${NEWEST} AS stored, ${ANY_VANISHED} AS vanished, ${endsOf('found')} AS gone
${deleteWins(rule, 'row, found, vanished, gone')}${rule === 'newer' ? '' : ' AND size(gone) > 0'}
${BURY}
WITH found, gone, t, vanished OR t[$now.id] IS NULL AS vanished
${unbury(rule)}
FOREACH (r IN found | DELETE r)
RETURN count(*) AS applied, count(CASE WHEN vanished THEN 1 END) AS vanished,
  ${names.map((_, i) => `collect(gone[${i}])`).join(' + ')} AS left`;
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
const APPLIED = `fate IN ['created', 'updated', 'moved']`;

function lockedByKey({ keyProperty }: RelationshipTarget, type: string, name: string): string {
  return `OPTIONAL MATCH ()-[${name}:${quote(type)} {${quote(keyProperty)}: row[0]}]->()
USING INDEX SEEK ${name}:${quote(type)}(${quote(keyProperty)})
REMOVE ${name}._lock`;
}

/** What is found under each type of the table, by the names given, `carried` beside it. */
function lockedTypeByType(target: RelationshipTarget, names: readonly string[], carried: string): string {
  return relationshipTypes(target)
    .map((type, i) => lockedByKey(target, type, names[i] ?? ''))
    .reduce((before, next, i) => `${before}\nWITH ${carried}, ${names.slice(0, i).join(', ')}\n${next}`);
}

/** For an upsert: `r`, of its type, with `stored`, `vanished`, `ends`; and the tombstone. */
function lockedUnderOwn(target: RelationshipTarget, type: string): string {
  return `${lockedByKey(target, type, 'r')}
WITH f, floor, purged, row, r, r[$now._position] AS stored, ${VANISHED} AS vanished, ${ENDS} AS ends
${tombstoneIf('stored IS NULL')}`;
}

/** As `lockedUnderOwn`, of all that is found; and `others`, of other types, with their ends, `gone`. */
function lockedUnderAll(target: RelationshipTarget, type: string): string {
  const names = relationshipTypes(target).map((each, i) => (each === type ? 'r' : `r${i}`));
  const others = listOf(names.filter((name) => name !== 'r'));
  return `${lockedTypeByType(target, names, 'f, floor, purged, row')}
WITH f, floor, purged, row, r, ${listOf(names)} AS found, ${others} AS others, ${ENDS} AS ends
WITH f, floor, purged, row, r, ends, others,
  ${NEWEST} AS stored, ${ANY_VANISHED} AS vanished, ${endsOf('others')} AS gone
${TOMBSTONE}`;
}

const DELETE_OTHERS = 'FOREACH (other IN others | DELETE other)';

/** Each of `gone` that an upsert has deleted. */
function leftElsewhere(target: RelationshipTarget): string {
  const [, ...others] = relationshipTypes(target);
  return others.map((_, i) => ` + collect(CASE WHEN ${APPLIED} THEN gone[${i}] END)`).join('');
}

function listOf(names: readonly string[]): string {
  return `[${names.join(', ')}]`;
}

// Of `found`, with nulls for the types that the key is not under.
const NEWEST = `reduce(newest = '', one IN found | CASE WHEN one[$now._position] > newest THEN one[$now._position] ELSE newest END)`;
const ANY_VANISHED = 'any(one IN found WHERE one IS NOT NULL AND one[$now.key] IS NULL)';

function endsOf(list: string): string {
  return `[one IN ${list} WHERE one IS NOT NULL | [startNode(one)[$now.fromKey], endNode(one)[$now.toKey]]]`;
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
