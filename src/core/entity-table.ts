/** The mapped table that sync-data compares: the nodes that have a type and a `last_updated_at`. */
import { AppError } from './errors.ts';
import type { KeyKind } from './mapping-schema.ts';
import type { Mapping, NodeTarget, PropertyMapping, TableMapping } from './mapping.ts';

export interface EntityTable {
  readonly mapping: TableMapping;
  readonly target: NodeTarget;
  readonly key: { readonly column: string; readonly kind: KeyKind };
  /** Column and property of each. */
  readonly type: { readonly column: string; readonly property: string };
  readonly updatedAt: { readonly column: string; readonly property: string };
  /** Those that the mapping lists. */
  readonly types: readonly string[];
}

/** What a comparison is limited to: an entity is in if either side's is. */
export interface EntityFilter {
  /** Strictly later, microseconds since the Unix epoch. */
  readonly changedAfterMicros: bigint | null;
  readonly types: readonly string[] | null;
}

const UPDATED_AT = 'last_updated_at';

/** The column that becomes the timestamp `last_updated_at`; null: none does. */
export function updatedAtColumn(properties: readonly PropertyMapping[]): string | null {
  const found = properties.find(({ name, from }) => name === UPDATED_AT && from[0]?.as === 'timestamp');
  return found?.from[0]?.column ?? null;
}

/** Throws CONFIG_INVALID if there is none, or more than one. */
export function entityTable({ tables }: Mapping): EntityTable {
  const found = tables.flatMap((mapping): EntityTable[] => {
    const { target, key } = mapping;
    const [only, ...more] = key;
    if (target.kind !== 'node' || target.labels === null || only === undefined || more.length > 0) return [];
    const { column, byValue } = target.labels;
    const type = target.properties.find(
      ({ from }) => from[0]?.column === column && from[0].path.length === 0,
    );
    const updatedColumn = updatedAtColumn(target.properties);
    if (type === undefined || updatedColumn === null) return [];
    return [
      {
        mapping,
        target,
        key: { column: only.name, kind: only.kind },
        type: { column, property: type.name },
        updatedAt: { column: updatedColumn, property: UPDATED_AT },
        types: [...byValue.keys()],
      },
    ];
  });
  const [table, another] = found;
  if (table !== undefined && another === undefined) return table;
  throw new AppError(
    'CONFIG_INVALID',
    `sync-data compares the nodes of one table, with a key of one column, labels by type, and ${UPDATED_AT} as a timestamp: the connector files have ${found.length} such tables.`,
  );
}
