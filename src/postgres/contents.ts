/**
 * PostgreSQL's side of a comparison by content: rows as a request to republish would have them published, that is with
 * the reader and the encoder of the stream.
 */
import type { Relation } from '../core/change.ts';
import { rowEncoder, type WireRow } from '../core/envelope.ts';
import { AppError } from '../core/errors.ts';
import { canonicalKey, type KeyParts, keyText } from '../core/keys.ts';
import type { TableMapping } from '../core/mapping.ts';
import type { Sql } from './client.ts';
import { createRowReader, type RowsRead } from './rows.ts';

export interface ContentRow {
  readonly key: KeyParts;
  readonly version: string;
  readonly row: WireRow;
}

export interface ContentPage {
  readonly rows: readonly ContentRow[];
  /** Nothing was behind it. */
  readonly last: boolean;
}

export interface SourceContents {
  /** Those after the key, in the order of keys: `limit` of them, or fewer if they are large. */
  readonly page: (after: KeyParts | null, limit: number, signal: AbortSignal) => Promise<ContentPage>;
  /** Keys may be any text: what no row can have finds none. */
  readonly byKeys: (keys: readonly KeyParts[], signal: AbortSignal) => Promise<readonly ContentRow[]>;
  /** How many of the keys, from the first, have rows that can be held at once: at least one. No row is read for it. */
  readonly holdable: (keys: readonly KeyParts[], signal: AbortSignal) => Promise<number>;
}

/** On failure: as `createRowReader`; a table that is locked for longer than the session's lock timeout is POSTGRES_FAILED. */
export function sourceContents(sql: Sql, table: TableMapping): SourceContents {
  const reader = createRowReader(sql);
  const names = table.key.map(({ name }) => name);
  let encoder: { readonly of: Relation; readonly row: ReturnType<typeof rowEncoder>['row'] } | null = null;

  function contentRows(read: RowsRead): ContentRow[] {
    const { relation, rows, keys, versions } = read;
    if (relation === null) return [];
    if (encoder?.of !== relation) encoder = { of: relation, row: rowEncoder(relation, names).row };
    const { row } = encoder;
    return rows.map((tuple, i) => ({
      key: keys[i] ?? [],
      version: versions[i] ?? '',
      row: JSON.parse(row(tuple)) as WireRow,
    }));
  }

  /** A uuid in capitals is the row's name to PostgreSQL, but not to the graph. */
  function canHave(key: KeyParts): boolean {
    return canonicalKey(table.key, key)?.every((part, i) => part === key[i]) === true;
  }

  return {
    async page(after, limit, signal) {
      const read = unlocked(await reader.range(table, { after, upTo: null }, limit, signal), table);
      const rows = contentRows(read);
      return { rows, last: !read.more };
    },
    async byKeys(keys, signal) {
      let all: ContentRow[] = [];
      for (let open = keys.filter(canHave); open.length > 0;) {
        const read = unlocked(await reader.keys(table, open, signal), table);
        all = all.concat(contentRows(read));
        const found = new Set(read.keys.map(keyText));
        open = read.more ? open.filter((key) => !found.has(keyText(key))) : [];
      }
      return all;
    },
    async holdable(keys, signal) {
      const possible = [...keys.entries()].filter(([, key]) => canHave(key));
      const fitting = await reader.fitting(
        table,
        possible.map(([, key]) => key),
        signal,
      );
      const [beyond = keys.length] = possible[unlocked(fitting, table)] ?? [];
      return beyond;
    },
  };
}

function unlocked<T>(read: T | null, { table }: TableMapping): T {
  if (read === null) throw new AppError('POSTGRES_FAILED', `The table ${table} is locked.`);
  return read;
}
