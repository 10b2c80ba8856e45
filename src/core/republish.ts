/**
 * What a republish request asks of one reading (I3): at most 1,000 rows. What is over is asked for again by another
 * request, later in the stream.
 */
import { canonicalKey, int64, type KeyParts, keyText } from './keys.ts';
import type { TableMapping } from './mapping.ts';
import type { RepublishRequest } from './messages.ts';

export const ROWS_PER_REQUEST = 1000;

export type Reading =
  | {
      readonly kind: 'keys';
      /** As PostgreSQL writes them, each once: those that a row may have. */
      readonly keys: readonly KeyParts[];
      /** As they were listed, each once. */
      readonly listed: readonly KeyParts[];
    }
  | { readonly kind: 'range'; readonly after: KeyParts | null; readonly upTo: KeyParts | null };

export function rangeRequest(
  { table }: Pick<TableMapping, 'table'>,
  range: { readonly after: KeyParts | null; readonly upTo: KeyParts | null },
  run: Pick<RepublishRequest, 'runId' | 'reason'>,
): RepublishRequest {
  const [after = null, upTo = null] = [range.after, range.upTo].map((key) => key && [...key]);
  return { v: 1, table, range: { after, upTo }, ...run };
}

/** As many requests as it takes to list the keys. What the stream is asked lists `askable` ones alone. */
export function keyRequests(
  { table }: Pick<TableMapping, 'table'>,
  keys: readonly KeyParts[],
  run: Pick<RepublishRequest, 'runId' | 'reason'>,
): RepublishRequest[] {
  const listed = keys.map((parts) => [...parts]);
  return Array.from({ length: Math.ceil(listed.length / ROWS_PER_REQUEST) }, (_, i) => ({
    v: 1,
    table,
    keys: listed.slice(i * ROWS_PER_REQUEST, (i + 1) * ROWS_PER_REQUEST),
    ...run,
  }));
}

/** null: the request does not fit the table's key. */
export function readingOf(request: RepublishRequest, table: TableMapping): Reading | null {
  const { key } = table;
  if ('keys' in request) {
    if (request.keys.some((parts) => parts.length !== key.length)) return null;
    const listed = distinct(request.keys.slice(0, ROWS_PER_REQUEST).map((parts) => standing(table, parts)));
    const canonical = listed.map((parts) => canonicalKey(key, parts)).filter((parts) => parts !== null);
    return { kind: 'keys', keys: distinct(canonical), listed };
  }
  const { after, upTo } = request.range;
  const bounds = [after, upTo].map((parts) => {
    if (parts === null) return null;
    return parts.length === key.length ? canonicalKey(key, parts) : null;
  });
  const [from = null, to = null] = bounds;
  if ((from === null) !== (after === null) || (to === null) !== (upTo === null)) return null;
  return { kind: 'range', after: from, upTo: to };
}

/**
 * Listed keys without a row: they become deletes. A uuid in capitals is the row's name to PostgreSQL, but not to the
 * graph: the row is republished, and what bears the other name is deleted. A number is the same in both.
 * `more`: not every row could be read; whoever's row was not found is left to another request.
 */
export function absentKeys(
  { key }: TableMapping,
  listed: readonly KeyParts[],
  found: readonly KeyParts[],
  more: boolean,
): { readonly absent: KeyParts[]; readonly unread: KeyParts[] } {
  const present = new Set(found.map(keyText));
  const unnamed = listed.filter((parts) => !present.has(keyText(parts)));
  if (!more) return { absent: unnamed, unread: [] };
  const read = (parts: KeyParts) => present.has(keyText(canonicalKey(key, parts) ?? []));
  return { absent: unnamed.filter(read), unread: unnamed.filter((parts) => !read(parts)) };
}

/** What is left of a list of which the first 1,000 were looked for, all but `unread` of them read. */
export function restOfKeys(request: RepublishRequest, unread: readonly KeyParts[]): RepublishRequest | null {
  if (!('keys' in request)) throw new RangeError('the request has no keys');
  const keys = [...unread.map((parts) => [...parts]), ...request.keys.slice(ROWS_PER_REQUEST)];
  return keys.length === 0 ? null : { ...request, keys };
}

/** What is left of a range of which the rows up to `last` were read. */
export function restOfRange(request: RepublishRequest, last: KeyParts): RepublishRequest {
  if (!('range' in request)) throw new RangeError('the request has no range');
  return { ...request, range: { after: [...last], upTo: request.range.upTo } };
}

/** Integers as PostgreSQL writes them, the rest as listed. */
function standing({ key }: TableMapping, parts: KeyParts): KeyParts {
  return parts.map((part, i) => (key[i]?.kind === 'bigint' ? (int64(part)?.toString() ?? part) : part));
}

function distinct(keys: readonly KeyParts[]): KeyParts[] {
  return [...new Map(keys.map((parts) => [keyText(parts), parts])).values()];
}
