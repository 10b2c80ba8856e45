/**
 * The statements that decide what wins (I7), built once per table: only names of the mapping are in their text, values
 * are parameters. A row is a list: key, position, tombstone id, then what the statement names.
 *
 * Every statement takes the write lock (`REMOVE x._lock`) before it compares: Neo4j reads committed data, and MERGE or
 * MATCH of something that exists locks nothing. What does not exist is locked by being merged.
 */
import type {
  EndMapping,
  Mapping,
  NodeTarget,
  RelationshipTarget,
  RelationshipVariant,
  TableMapping,
} from '../core/mapping.ts';

export function quote(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``;
}

/** Position and purge horizon of the table's floor, for the statement that follows. */
const FLOOR = `OPTIONAL MATCH (f:_Floor {id: $floor})
WITH coalesce(f.position, '') AS floor, coalesce(f.purgedThrough, '') AS purged`;

const FIRST_VALUE = 4;

/** Row: key, position, tombstone id, type labels, values… Answers each row's fate: applied, refused or purged. */
export function upsertNodes(target: NodeTarget): string {
  const { label, keyProperty, properties } = target;
  const typeLabels = [...new Set(target.labels?.byValue.values() ?? [])]
    .map((name) => `:${quote(name)}`)
    .join('');
  return `${FLOOR}
UNWIND $rows AS row
MERGE (n:${quote(label)} {${quote(keyProperty)}: row[0]})
REMOVE n._lock
WITH n, row, floor, purged, n._position AS stored
OPTIONAL MATCH (t:_Tombstone {id: CASE WHEN stored IS NULL THEN row[2] END})
WITH n, row, t, CASE
    WHEN coalesce(stored, '') > row[1] OR floor > row[1] OR coalesce(t.position, '') > row[1] THEN 'refused'
    WHEN stored IS NULL AND t IS NULL AND purged >= row[1] THEN 'purged'
    ELSE 'applied' END AS fate
FOREACH (_ IN CASE WHEN fate = 'applied' THEN [1] ELSE [] END |
  SET n = ${mapOf(
    keyProperty,
    properties.map((p) => p.name),
    FIRST_VALUE,
  )}
  REMOVE n:Stub${typeLabels}
  DELETE t)
FOREACH (label IN CASE WHEN fate = 'applied' THEN row[3] ELSE [] END | SET n:$(label))
FOREACH (_ IN CASE WHEN fate <> 'applied' AND n._position IS NULL AND NOT EXISTS { (n)--() } THEN [1] ELSE [] END | DELETE n)
RETURN row[0] AS key, fate`;
}

/** Row: key, position, tombstone id. A node that still has relationships becomes a stub. */
export function deleteNodes(
  { label, keyProperty }: Pick<NodeTarget, 'label' | 'keyProperty'>,
  typeLabels: readonly string[],
): string {
  return `UNWIND $rows AS row
MERGE (n:${quote(label)} {${quote(keyProperty)}: row[0]})
REMOVE n._lock
WITH n, row, coalesce(n._position, '') <= row[1] AS wins
${TOMBSTONE}
${toStubOrGone(keyProperty, typeLabels, 'row[0]')}
RETURN row[0] AS key, CASE WHEN wins THEN 'applied' ELSE 'refused' END AS fate`;
}

const TOMBSTONE = `FOREACH (_ IN CASE WHEN wins THEN [1] ELSE [] END |
  MERGE (t:_Tombstone {id: row[2]})
  ON CREATE SET t.namespace = $namespace, t.table = $table, t.position = row[1], t.deletedAt = timestamp()
  ON MATCH SET t.deletedAt = timestamp(), t.position = CASE WHEN t.position < row[1] THEN row[1] ELSE t.position END)`;

function toStubOrGone(keyProperty: string, typeLabels: readonly string[], key: string): string {
  const remove =
    typeLabels.length === 0 ? '' : `REMOVE n${typeLabels.map((name) => `:${quote(name)}`).join('')}`;
  return `FOREACH (_ IN CASE WHEN wins AND EXISTS { (n)--() } THEN [1] ELSE [] END |
  SET n = {${quote(keyProperty)}: ${key}} SET n:Stub ${remove})
FOREACH (_ IN CASE WHEN wins AND NOT EXISTS { (n)--() } THEN [1] ELSE [] END | DELETE n)`;
}

/** Locks ends in the order given, makes stubs of those that are missing. Row: a key. */
export function mergeEnds({ label, keyProperty }: EndMapping): string {
  return `UNWIND $rows AS key MERGE (n:${quote(label)} {${quote(keyProperty)}: key}) ON CREATE SET n:Stub REMOVE n._lock`;
}

/** Row: key, position, tombstone id, from, to, values… The tombstone is the lock of a relationship that is not there. */
export function upsertRelationships(
  target: RelationshipTarget,
  { type, properties }: RelationshipVariant,
): string {
  const { keyProperty, from, to } = target;
  const map = mapOf(
    keyProperty,
    properties.map((p) => p.name),
    5,
  );
  return `${FLOOR}
UNWIND $rows AS row
MERGE (t:_Tombstone {id: row[2]})
REMOVE t._lock
WITH row, t, floor, purged
OPTIONAL MATCH (a)-[r:${quote(type)} {${quote(keyProperty)}: row[0]}]->(b)
MATCH (from:${quote(from.label)} {${quote(from.keyProperty)}: row[3]})
MATCH (to:${quote(to.label)} {${quote(to.keyProperty)}: row[4]})
WITH row, t, r, a, b, from, to, CASE
    WHEN coalesce(r._position, '') > row[1] OR floor > row[1] OR coalesce(t.position, '') > row[1] THEN 'refused'
    WHEN r IS NULL AND t.position IS NULL AND purged >= row[1] THEN 'purged'
    ELSE 'applied' END AS fate
WITH *, fate = 'applied' AND r IS NOT NULL AND a = from AND b = to AS same
FOREACH (_ IN CASE WHEN same THEN [1] ELSE [] END | SET r = ${map})
FOREACH (_ IN CASE WHEN fate = 'applied' AND NOT same THEN [1] ELSE [] END | DELETE r)
FOREACH (_ IN CASE WHEN fate = 'applied' AND NOT same THEN [1] ELSE [] END |
  CREATE (from)-[created:${quote(type)}]->(to) SET created = ${map})
FOREACH (_ IN CASE WHEN fate = 'applied' OR t.position IS NULL THEN [1] ELSE [] END | DELETE t)
RETURN row[0] AS key, fate,
  CASE WHEN fate = 'applied' AND NOT same AND r IS NOT NULL THEN [elementId(a), elementId(b)]
       WHEN fate = 'applied' THEN [] ELSE [elementId(from), elementId(to)] END AS ends`;
}

/** Row: key, position, tombstone id. */
export function deleteRelationships({ keyProperty }: RelationshipTarget, type: string): string {
  return `UNWIND $rows AS row
MERGE (l:_Tombstone {id: row[2]})
REMOVE l._lock
WITH row, l
OPTIONAL MATCH (a)-[r:${quote(type)} {${quote(keyProperty)}: row[0]}]->(b)
WITH row, l, r, a, b, coalesce(r._position, '') <= row[1] AS wins
FOREACH (_ IN CASE WHEN wins THEN [1] ELSE [] END | DELETE r
  SET l.namespace = $namespace, l.table = $table, l.deletedAt = timestamp(),
      l.position = CASE WHEN coalesce(l.position, '') < row[1] THEN row[1] ELSE l.position END)
FOREACH (_ IN CASE WHEN NOT wins AND l.position IS NULL THEN [1] ELSE [] END | DELETE l)
RETURN row[0] AS key, CASE WHEN wins THEN 'applied' ELSE 'refused' END AS fate,
  CASE WHEN wins AND r IS NOT NULL THEN [elementId(a), elementId(b)] ELSE [] END AS ends`;
}

/** Stubs among these nodes that have no relationship left. Locked before they are looked at. */
export const SWEEP_STUBS = `UNWIND $ends AS id
MATCH (n:Stub) WHERE elementId(n) = id
REMOVE n._lock
WITH n WHERE NOT EXISTS { (n)--() }
DELETE n`;

function mapOf(keyProperty: string, names: readonly string[], first: number): string {
  const values = names.map((name, i) => `, ${quote(name)}: row[${i + first}]`);
  return `{${quote(keyProperty)}: row[0], _position: row[1]${values.join('')}}`;
}

/** Nodes of a table older than its floor, a chunk at a time. */
export function truncateNodes({ label, keyProperty }: NodeTarget, typeLabels: readonly string[]): string {
  return `MATCH (n:${quote(label)}) WHERE n._position < $position
WITH n LIMIT $limit
REMOVE n._lock
WITH n, n._position < $position AS wins
${toStubOrGone(keyProperty, typeLabels, `n.${quote(keyProperty)}`)}
RETURN count(*) AS removed`;
}

export function truncateRelationships(type: string): string {
  return `MATCH (a)-[r:${quote(type)}]->(b) WHERE r._position < $position
WITH a, r, b LIMIT $limit
REMOVE r._lock
WITH a, r, b WHERE r._position < $position
WITH elementId(a) AS a, elementId(b) AS b, r
DELETE r
RETURN a, b`;
}

export function tombstoneId(mapping: Mapping, table: TableMapping, key: string | bigint): string {
  return `${mapping.sink.namespace}|${table.table}|${key}`;
}
