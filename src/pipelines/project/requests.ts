/** From records that were not applied to the republish requests that ask for their keys (I2). */
import { keyText } from '../../core/keys.ts';
import type { TableMapping } from '../../core/mapping.ts';
import { askable, type RepublishRequest } from '../../core/messages.ts';
import { keyRequests } from '../../core/republish.ts';
import type { IncomingRecord } from '../../kafka/subscriber.ts';

/** Keys that cannot be read, or no node can have, are left out: their records are dead letters of their own. */
export function requestsFor(
  table: TableMapping,
  records: readonly Pick<IncomingRecord, 'key'>[],
  runId: string,
  reason: string,
): RepublishRequest[] {
  const keys = new Map<string, string[]>();
  for (const { key } of records) {
    const parts = key === null ? null : keyParts(table, key);
    if (parts !== null && askable(parts)) keys.set(keyText(parts), parts);
  }
  return keyRequests(table, [...keys.values()], { runId, reason });
}

/** The key's values as text, in the mapping's order; null if the record's key is not that of a row. */
export function keyParts(table: TableMapping, key: Uint8Array): string[] | null {
  let row: unknown;
  try {
    row = JSON.parse(Buffer.from(key).toString('utf8'));
  } catch {
    return null;
  }
  if (typeof row !== 'object' || row === null) return null;
  const values = table.key.map(({ name }) => (row as Record<string, unknown>)[name]);
  if (values.some((value) => typeof value !== 'string' && typeof value !== 'number')) return null;
  return values.map(String);
}
