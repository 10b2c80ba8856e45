/**
 * What the statements share. They are built once per mapping: names of the mapping stand in their text, quoted by one
 * function; values are parameters. Rows are lists, in the order that each statement names.
 *
 * Three habits of Neo4j shape them, each of which loses writes otherwise:
 * - It reads committed data, and MERGE or MATCH of what exists locks nothing. So `REMOVE x._lock` takes the write lock
 *   before anything is compared. (It locks nothing while no property of that name is known: `ensureSchema`.)
 * - Its planner may read `x._position`, and `x['_position']` too, ahead of the clause that uses it, and so ahead of the
 *   lock. `x[$now._position]`, of which it knows nothing, is read where it stands.
 * - What another transaction deleted while we waited for its lock takes writes without a word. It no longer has its key:
 *   such a row is counted as vanished, and the batch is tried again.
 */

/**
 * Planning takes a fifth of a second, seconds on a cold server, and holds up whoever waits for the batch. Neo4j keeps
 * plans by text and by the types of the parameters, a list's type being its size class: hence rows inside a map, which
 * has none. And it plans again as the graph grows: these plans seek by key, whatever the graph holds.
 */
export const PLANNED_ONCE = 'CYPHER replan=skip';

/** The parameter `now`: names of properties for reads that must not be planned ahead. */
export const NOW = {
  _position: '_position',
  id: 'id',
  position: 'position',
  purgedThrough: 'purgedThrough',
  deletedAt: 'deletedAt',
  owner: 'owner',
  next: 'next',
  rebuild: 'rebuild',
  source: 'source',
} as const;

export function quote(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``;
}

/** `:A:B`, empty for none. */
export function labelsOf(names: readonly string[]): string {
  return names.map((name) => `:${quote(name)}`).join('');
}

/**
 * What a row must find in the graph to be applied:
 *   newer    nothing that is newer than its position (I7): the rule of the stream
 *   unmoved  the very position that it names, which stays: the rule of a repair without the stream, which has no place
 *            in the history of the source, so that whatever the stream brings later wins
 */
export type Rule = 'newer' | 'unmoved';

/** The property map of a row: key, position, then its values from index `first`. */
export function mapOf(rule: Rule, keyProperty: string, names: readonly string[], first: number): string {
  const values = names.map((name, i) => `, ${quote(name)}: row[${i + first}]`);
  // '' is never written: it marks what a MERGE has made, and what is removed again if the row loses.
  const position = rule === 'newer' ? 'row[1]' : `CASE WHEN row[1] <> '' THEN row[1] END`;
  return `{${quote(keyProperty)}: row[0], _position: ${position}${values.join('')}}`;
}

/** FOREACH as Cypher's only conditional write. */
export function when(condition: string, ...writes: readonly string[]): string {
  return `FOREACH (_ IN CASE WHEN ${condition} THEN [1] ELSE [] END |\n  ${writes.join('\n  ')})`;
}

/**
 * The table's floor: `position` of its last truncate, and `purgedThrough`, up to which tombstones are gone. Read before
 * the first row and again after the last (`STEADY`), since what was purged in between may have hidden a tombstone.
 */
export const WITH_FLOOR = `MATCH (f:_Floor {id: $floor})
WITH f, f[$now.position] AS floor, f[$now.purgedThrough] AS purged`;

export const STEADY = `f[$now.position] = floor AND f[$now.purgedThrough] = purged AS steady`;

/** `t`, the tombstone of the row's key, whatever stands under it. */
export const TOMBSTONE = 'OPTIONAL MATCH (t:_Tombstone {id: $tombstones + toString(row[0])})';

/** `t`, the tombstone of what is not there, or has no position. */
export function tombstoneIf(condition: string): string {
  return `OPTIONAL MATCH (t:_Tombstone {id: CASE WHEN ${condition} THEN $tombstones + toString(row[0]) END})`;
}

/** Ends a statement that has made what each `row` is about, and locked its key: whether a tombstone, a floor or a purge is against it. */
export const PLAIN = `WITH f, floor, purged, row
${TOMBSTONE}
WITH f, floor, purged, count(*) AS applied, count(t) AS buried, min(row[1]) AS lowest
RETURN applied, buried = 0 AND floor <= lowest AND purged < lowest AS plain, ${STEADY}`;

/** Where a key stands: at the newest of what bears it, and of its tombstone. */
const STANDING = `CASE WHEN t[$now.position] > coalesce(stored, '') THEN t[$now.position] ELSE coalesce(stored, '') END`;

/**
 * Whether an upsert loses; `absent`: no row of the table is there now, so that a tombstone decides. One that is older than
 * what was purged does not: a delete that is replayed leaves it where a later one is gone.
 */
export function lostBy(rule: Rule, absent: string): string {
  if (rule === 'unmoved') return `WHEN ${STANDING} <> row[1] THEN 'refused'`;
  return `WHEN coalesce(stored, '') > row[1] OR floor > row[1] OR coalesce(t[$now.position], '') > row[1] THEN 'refused'
    WHEN ${absent} AND purged >= row[1] THEN 'purged'`;
}

/** Goes on with the rows whose delete wins. */
export function deleteWins(rule: Rule, carried: string): string {
  if (rule === 'newer') return `WITH ${carried} WHERE coalesce(stored, '') <= row[1]`;
  return `${TOMBSTONE}
WITH ${carried} WHERE ${STANDING} = row[1]`;
}

/** Writes the tombstone of a delete, or raises it. Leaves `t`, locked. */
export const BURY = `MERGE (t:_Tombstone {id: $tombstones + toString(row[0])})
REMOVE t._lock
SET t.namespace = $namespace, t.table = $table, t.deletedAt = timestamp(),
    t.position = CASE WHEN coalesce(t[$now.position], '') > row[1] THEN t[$now.position] ELSE row[1] END`;

/**
 * After it: what has no place in the history of the source leaves no tombstone. One without a position would forbid
 * nothing, but stand where a purged one is missed.
 */
export function unbury(rule: Rule): string {
  return rule === 'newer' ? '' : when(`t[$now.position] = ''`, 'DELETE t');
}
