/** Keys of mapped tables in SQL: their order, which is that of their index, and their values as parameters. */
import type { KeyParts } from '../core/keys.ts';
import type { KeyKind } from '../core/mapping-schema.ts';
import type { KeyColumn } from '../core/mapping.ts';
import { quoteIdentifier } from './sql.ts';

const KEY_TYPE: Readonly<Record<KeyKind, string>> = { uuid: 'uuid', bigint: 'int8', text: 'text' };

/** Text by its bytes, as the indexes of keys have it. */
export function keyOrder(key: readonly KeyColumn[], alias = 't'): string {
  return key
    .map(({ name, kind }) => `${alias}.${quoteIdentifier(name)}${kind === 'text' ? ' collate "C"' : ''}`)
    .join(', ');
}

/** The condition that a row's key is in `(after, upTo]`, null being no bound; adds its parameters to `values`. */
export function keyBetween(
  key: readonly KeyColumn[],
  { after, upTo }: { readonly after: KeyParts | null; readonly upTo: KeyParts | null },
  values: unknown[],
): string {
  const order = keyOrder(key);
  const bound = (parts: KeyParts) =>
    key.map(({ kind }, i) => `$${values.push(parts[i] ?? '')}::${KEY_TYPE[kind]}`).join(', ');
  const limits = [
    ...(after === null ? [] : [`(${order}) > (${bound(after)})`]),
    ...(upTo === null ? [] : [`(${order}) <= (${bound(upTo)})`]),
  ];
  return limits.length === 0 ? 'true' : limits.join(' and ');
}

/**
 * The join of the rows `t` that have one of the keys, as PostgreSQL writes them; `wanted.n` is the place of a row's key
 * among them, from 1. Adds its parameters to `values`.
 */
export function joinKeys(key: readonly KeyColumn[], keys: readonly KeyParts[], values: unknown[]): string {
  const arrays = key.map(
    ({ kind }, i) => `$${values.push(keys.map((parts) => parts[i]))}::${KEY_TYPE[kind]}[]`,
  );
  const on = key.map(({ name }, i) => `t.${quoteIdentifier(name)} = wanted.k${i}`);
  const names = key.map((_, i) => `k${i}`);
  return `join unnest(${arrays.join(', ')}) with ordinality as wanted(${names.join(', ')}, n) on ${on.join(' and ')}`;
}
