/**
 * The shape of the connector files, strict: an unknown key is an error. `connectors/connector.schema.json` is
 * generated from these schemas. How they fit together is checked in `mapping.ts`, after every file has its shape.
 */
import { z } from 'zod';

const columnName = z.string().min(1).max(63);
/** Labels, relationship types and properties: plain words, so that nothing in a mapping can change a statement's shape. */
const graphName = z
  .string()
  .regex(
    /^[A-Za-z][A-Za-z0-9_]{0,62}$/,
    'use letters, digits and _, starting with a letter (names starting with _ are internal)',
  );
const topicName = z.string().regex(/^[A-Za-z0-9._-]{1,200}$/, 'use letters, digits, ".", "_" and "-"');
const keyKind = z.enum(['uuid', 'bigint', 'text']);

/** How a column's value is stored in the graph. `timestamp` is integer microseconds since the Unix epoch. */
const storedAs = z.enum(['text', 'integer', 'boolean', 'timestamp']);

/** A column, or a value inside a JSON column with the meaning of PostgreSQL's `->>`. */
const lifted = z.strictObject({
  column: columnName,
  path: z.array(z.string().min(1)).min(1).optional(),
  as: storedAs.optional(),
});

const property = z.union([lifted, z.strictObject({ firstOf: z.array(lifted).min(2) })]);
const properties = z.record(graphName, property);

const typeLabels = z.strictObject({ column: columnName, values: z.record(z.string().min(1), graphName) });

const node = z.strictObject({
  label: graphName,
  labels: typeLabels.optional(),
  properties,
});

const end = z.strictObject({ label: graphName, column: columnName });

const typeChoice = z.strictObject({
  column: columnName,
  values: z.record(z.string().min(1), graphName),
  otherwise: z.strictObject({ type: graphName, properties: properties.optional() }),
});

const relationship = z.strictObject({
  type: z.union([graphName, typeChoice]),
  from: end,
  to: end,
  properties,
});

export const tableFile = z.strictObject({
  $schema: z.string().optional(),
  table: z.string().regex(/^[^.]+\.[^.]+$/, 'write schema.table'),
  topic: topicName.optional(),
  key: z
    .record(columnName, keyKind)
    .refine((key) => Object.keys(key).length > 0, 'name at least one key column'),
  node: node.optional(),
  relationship: relationship.optional(),
});

export const sourceFile = z.strictObject({
  $schema: z.string().optional(),
  slot: z.string().regex(/^[a-z0-9_]{1,63}$/, 'use lower-case letters, digits and _'),
  publication: z.string().min(1).max(63),
  topicPrefix: topicName,
  partitions: z.int().min(1).max(1000).default(4),
  replicationFactor: z.int().min(1).max(16).default(1),
  maxMessageBytes: z.int().min(100_000).max(1_000_000_000).default(20_971_520),
  maxCompactionLagMs: z.int().min(1000).default(86_400_000),
  segmentMs: z.int().min(1000).default(86_400_000),
  tables: z.array(z.string()).min(1),
});

export const sinkFile = z.strictObject({
  $schema: z.string().optional(),
  namespace: z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, 'use letters, digits, ".", "_" and "-"'),
  consumerGroupPrefix: topicName,
  batch: z
    .strictObject({
      maxRecords: z.int().min(1).max(100_000).default(2000),
      maxBytes: z.int().min(1000).default(8_388_608),
    })
    .prefault({}),
  tombstoneRetentionMs: z.int().min(0).default(604_800_000),
});

export type TableFile = z.infer<typeof tableFile>;
export type SourceFile = z.infer<typeof sourceFile>;
export type SinkFile = z.infer<typeof sinkFile>;
export type KeyKind = z.infer<typeof keyKind>;
export type StoredAs = z.infer<typeof storedAs>;
export type PropertySpec = z.infer<typeof property>;

/** `connectors/connector.schema.json`: what editors complete from. */
export function connectorSchema(): object {
  const definition = (schema: z.ZodType) => z.toJSONSchema(schema, { io: 'input', target: 'draft-2020-12' });
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $defs: { source: definition(sourceFile), sink: definition(sinkFile), table: definition(tableFile) },
  };
}
