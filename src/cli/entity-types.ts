/** `--entity-types`: those that the mapping lists, each once. */
import type { EntityTable } from '../core/entity-table.ts';
import { AppError } from '../core/errors.ts';

export function typesOf(list: string, { types }: EntityTable): readonly string[] {
  const named = list.split(',').map((type) => type.trim());
  const unknown = named.filter((type) => !types.includes(type));
  if (unknown.length === 0) return [...new Set(named)];
  throw new AppError(
    'USAGE',
    `--entity-types: ${unknown.map((type) => JSON.stringify(type)).join(', ')} not known; the types are ${types.join(', ')}.`,
  );
}
