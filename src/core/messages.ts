/** Our logical messages: a public SQL interface through which anyone asks the publisher (I2). */
import { z } from 'zod';

export const REPUBLISH_PREFIX = 'graph.republish';
export const MARKER_PREFIX = 'graph.marker';

/** As JSON. No node can have a longer key, since no index of Neo4j takes it; and two of it fit into any record. */
const MAX_KEY_BYTES = 16_384;

const key = z.array(z.string());
const named = key.refine(askable);
const base = z.strictObject({
  v: z.literal(1),
  table: z.string().min(1),
  runId: z.string().min(1),
  reason: z.string(),
  /** Where the request stands that this one is the rest of: set by the publisher alone. */
  origin: z.string().optional(),
});

export const republishRequest = z.union([
  base.extend({ keys: z.array(named).min(1) }),
  base.extend({ range: z.strictObject({ after: key.nullable(), upTo: key.nullable() }) }),
]);

/**
 * Whether a request may list the key: one that it may not would void it. Most are told by their length: a UTF-16 unit has
 * at most six bytes.
 */
export function askable(parts: readonly string[]): boolean {
  const mostBytes = parts.reduce((bytes, part) => bytes + 6 * part.length + 3, 1);
  return mostBytes <= MAX_KEY_BYTES || Buffer.byteLength(JSON.stringify(parts)) <= MAX_KEY_BYTES;
}

export type RepublishRequest = z.infer<typeof republishRequest>;

/** Anyone may have sent it: what cannot be understood is null, never an error. */
export function parseRepublishRequest(content: Uint8Array): RepublishRequest | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(content);
    return republishRequest.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
