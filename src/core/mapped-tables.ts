/**
 * Which mapped table does the stream speak of? Its oid decides. The WAL has the name that the table had at that point: it
 * may have been renamed, and renamed back. What only had the name of a mapped table for a while is another one.
 */
import type { Relation } from './change.ts';
import type { Published } from './source-identity.ts';

interface Named {
  readonly schema: string;
  readonly name: string;
}

/** By oid, with which the text of each begins. */
export function tablesByOid<T extends { readonly table: string }>(
  published: Published,
  tables: readonly T[],
): ReadonlyMap<number, T> {
  return new Map(tables.map((table) => [Number(published[table.table]?.split('/')[0]), table]));
}

/** The relation under its mapped name, or null if it is not mapped. The same object for the same relation. */
export function mappedRelations(tables: ReadonlyMap<number, Named>): (relation: Relation) => Relation | null {
  const renamed = new WeakMap<Relation, Relation>();
  return (relation) => {
    const table = tables.get(relation.oid);
    if (table === undefined) return null;
    const { schema, name } = table;
    if (relation.name === name && relation.schema === schema) return relation;
    const known = renamed.get(relation) ?? { ...relation, schema, name };
    renamed.set(relation, known);
    return known;
  };
}
