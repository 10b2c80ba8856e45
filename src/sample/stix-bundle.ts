/**
 * From a STIX 2.x bundle to rows of the platform: pure, but for reading the file.
 *
 * - relationship objects become relations, their `relationship_type` the key; everything else becomes an entity of the
 *   type in {@link ENTITY_TYPE_OF}, or a package; the object itself is the row's `data`
 * - the id is the UUID of the STIX id
 * - `created` and `modified` are the two timestamps; if one is absent the other stands in, and {@link NO_TIME} for both
 * - of several objects with one UUID the one modified last wins, of equals the last in the bundle
 * - an object of another shape is left out, with one line that says why
 */
import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { AppError } from '../core/errors.ts';
import type { EntityRow, RelationRow } from './rows.ts';
import type { EntityType } from './tables.ts';

export interface StixRows {
  readonly entities: readonly EntityRow[];
  readonly relations: readonly RelationRow[];
  /** Objects that gave way to another with the same UUID. */
  readonly superseded: number;
  /** One line for each object left out. */
  readonly malformed: readonly string[];
}

/** Marks the entities that came from a bundle, in `meta.origin`. */
export const STIX_ORIGIN = 'stix';

/** For objects that STIX gives no time of their own, like cyber-observables: before all others. */
const NO_TIME = '1970-01-01T00:00:00Z';

const ENTITY_TYPE_OF: ReadonlyMap<string, EntityType> = new Map([
  ['intrusion-set', 'threat-actor'],
  ['threat-actor', 'threat-actor'],
  ['attack-pattern', 'ttp'],
  ['malware', 'ttp'],
  ['tool', 'ttp'],
  ['course-of-action', 'course-of-action'],
  ['campaign', 'campaign'],
  ['indicator', 'indicator'],
  ['report', 'report'],
]);

const ID = /^([a-z0-9][a-z0-9-]{0,249})--([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/i;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d+))?Z$/;
/** What JSON can write and jsonb cannot hold: NUL, and half a surrogate pair. JSON.stringify escapes no others so. */
const NOT_IN_JSONB = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f][0-9a-f]{2})/;

type StixObject = Readonly<Record<string, unknown>>;

/** `.json` or, recognised by its first bytes, `.json.gz`. Throws AppError USAGE if there is no bundle in the file. */
export async function readBundle(path: string): Promise<StixRows> {
  const fail = (problem: string, cause?: unknown): AppError =>
    new AppError('USAGE', `${path} ${problem}.`, { cause });
  const bytes = await readFile(path).catch((error: unknown) => {
    throw fail('cannot be read', error);
  });
  let bundle: unknown;
  try {
    const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
    bundle = JSON.parse((isGzip ? gunzipSync(bytes) : bytes).toString('utf8'));
  } catch (error) {
    throw fail('is neither JSON nor gzipped JSON', error);
  }
  if (!isObject(bundle) || bundle['type'] !== 'bundle' || !Array.isArray(bundle['objects'])) {
    throw fail('is not a STIX 2 bundle: an object of type "bundle" with a list of objects');
  }
  return bundleRows(bundle['objects']);
}

export function bundleRows(objects: readonly unknown[]): StixRows {
  const entities = new Map<string, EntityRow>();
  const relations = new Map<string, RelationRow>();
  const malformed: string[] = [];
  const tlp = tlpColors(objects);
  let superseded = 0;
  const keep = <T extends EntityRow | RelationRow>(rows: Map<string, T>, row: T): void => {
    const rival = rows.get(row.id);
    if (rival !== undefined) superseded++;
    if (rival === undefined || sortable(rival.last_updated_at) <= sortable(row.last_updated_at)) {
      rows.set(row.id, row);
    }
  };
  objects.forEach((object, index) => {
    try {
      if (!isObject(object)) throw new Malformed('not an object');
      if (object['type'] === 'relationship') keep(relations, relationRow(object));
      else keep(entities, entityRow(object, tlp));
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      malformed.push(`object ${String(index)}: ${error.message}`);
    }
  });
  return { entities: [...entities.values()], relations: [...relations.values()], superseded, malformed };
}

class Malformed extends Error {}

function entityRow(object: StixObject, tlp: ReadonlyMap<string, string>): EntityRow {
  const marks = object['object_marking_refs'];
  const color = Array.isArray(marks)
    ? marks.map((mark) => tlp.get(String(mark))).find((found) => found !== undefined)
    : undefined;
  const { uuid } = reference(object, 'id');
  return {
    id: uuid,
    type: entityType(text(object, 'type')),
    data: json(object),
    meta: JSON.stringify({ origin: STIX_ORIGIN, tlp_color: color }),
    ...times(object),
  };
}

function relationRow(object: StixObject): RelationRow {
  const source = reference(object, 'source_ref');
  const target = reference(object, 'target_ref');
  return {
    id: reference(object, 'id').uuid,
    key: text(object, 'relationship_type'),
    subtype: null,
    source_id: source.uuid,
    source_type: entityType(source.type),
    target_id: target.uuid,
    target_type: entityType(target.type),
    data: json(object),
    ...times(object),
  };
}

function entityType(stixType: string): EntityType {
  return ENTITY_TYPE_OF.get(stixType) ?? 'package';
}

/** The bundle's own TLP markings: STIX id to colour. */
function tlpColors(objects: readonly unknown[]): ReadonlyMap<string, string> {
  const colors = new Map<string, string>();
  for (const object of objects) {
    if (!isObject(object) || object['type'] !== 'marking-definition') continue;
    const { id, definition } = object;
    if (typeof id !== 'string' || !isObject(definition) || typeof definition['tlp'] !== 'string') continue;
    colors.set(id, definition['tlp'].toUpperCase());
  }
  return colors;
}

function text(object: StixObject, member: string): string {
  const value = object[member];
  if (typeof value !== 'string' || value === '') throw new Malformed(`${member} is not a text`);
  return value;
}

function reference(object: StixObject, member: string): { readonly type: string; readonly uuid: string } {
  const match = ID.exec(text(object, member));
  if (match?.[1] === undefined || match[2] === undefined) throw new Malformed(`${member} is not type--UUID`);
  return { type: match[1], uuid: match[2].toLowerCase() };
}

function times(object: StixObject): Pick<EntityRow, 'created_at' | 'last_updated_at'> {
  const created = time(object, 'created');
  const modified = time(object, 'modified');
  return { created_at: created ?? modified ?? NO_TIME, last_updated_at: modified ?? created ?? NO_TIME };
}

function time(object: StixObject, member: string): string | undefined {
  const value = object[member];
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || !isTime(value)) throw new Malformed(`${member} is not a STIX timestamp`);
  return value;
}

/** A day that JavaScript moves to the next month (30 February) is one that PostgreSQL refuses; likewise the year 0. */
function isTime(value: string): boolean {
  if (!TIME.test(value) || value.startsWith('0000')) return false;
  const date = new Date(value);
  return !Number.isNaN(date.getTime()) && date.toISOString().slice(0, 10) === value.slice(0, 10);
}

/** Timestamps with more or fewer digits of a second, in a form whose order is that of time. */
function sortable(value: string): string {
  const [seconds = '', fraction = ''] = value.slice(0, -1).split('.');
  return `${seconds}.${fraction.padEnd(9, '0')}`;
}

function json(object: StixObject): string {
  const written = JSON.stringify(object);
  if (NOT_IN_JSONB.test(written))
    throw new Malformed('a text that PostgreSQL cannot hold (NUL or half a character)');
  return written;
}

function isObject(value: unknown): value is StixObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
