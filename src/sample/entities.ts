/** One entity, relation, extract or link of the sample platform as a function of the seed and its number. */
import { type Random, random } from './random.ts';
import type { EntityRow, ExtractRow, LinkRow, RelationRow, TouchedEntity } from './rows.ts';
import type { EntityType } from './tables.ts';
import { prose, title, word } from './text.ts';

/** Each kind of thing draws from a stream of its own, so that a change to one leaves the others as they were. */
const STREAM = { identity: 1, content: 2, relations: 3, extract: 4, links: 5, touch: 6 } as const;

/** How often each type occurs, of 100. */
const TYPE_SHARES: readonly (readonly [EntityType, number])[] = [
  ['indicator', 40],
  ['ttp', 16],
  ['report', 12],
  ['eclecticiq-sighting', 9],
  ['incident', 6],
  ['threat-actor', 5],
  ['campaign', 4],
  ['exploit-target', 3],
  ['course-of-action', 3],
  ['package', 2],
];

const RELATION_KEYS: Readonly<Record<EntityType, readonly [string, ...string[]]>> = {
  campaign: ['attribution', 'related_ttps', 'associated_campaigns'],
  'course-of-action': ['related_coas', 'mitigates'],
  'eclecticiq-sighting': ['sighting_of'],
  'exploit-target': ['potential_coas', 'related_exploit_targets'],
  incident: ['attributed_threat_actors', 'leveraged_ttps', 'victim'],
  indicator: ['indicated_ttps', 'related_campaigns', 'suggested_coas'],
  package: ['contains'],
  report: ['reports'],
  'threat-actor': ['observed_ttps', 'associated_actors', 'historical_campaigns'],
  ttp: ['exploit_targets', 'related_ttps', 'uses'],
};
const SUBTYPES: readonly [string | null, ...(string | null)[]] = [null, null, 'confirmed', 'suspected'];
const TLP_COLORS: readonly [string, ...string[]] = ['WHITE', 'GREEN', 'GREEN', 'AMBER', 'RED'];
const EXTRACT_KINDS = ['ipv4', 'domain', 'uri', 'hash-sha256', 'email'] as const;

const FIRST_DAY_MS = Date.UTC(2021, 0, 1);
const DAY_MS = 86_400_000;
/** There is an ingestion run a day; all that a run writes has its time: equal timestamps are ordinary. */
const RUN_MS = DAY_MS;
const LONG_DESCRIPTION = 20_000;

export interface Identity {
  readonly id: string;
  readonly type: EntityType;
}

/** Cheap: what a relation must know of its other end. */
export function identity(seed: number, number: number): Identity {
  const draw = random(seed, STREAM.identity, number);
  let share = draw.below(100);
  for (const [type, size] of TYPE_SHARES) {
    if (share < size) return { id: draw.uuid(), type };
    share -= size;
  }
  throw new RangeError('the shares of the types add up to less than 100');
}

export function entity(seed: number, number: number): EntityRow {
  const { id, type } = identity(seed, number);
  const draw = random(seed, STREAM.content, number);
  const { created, updated } = times(draw);
  const [titles, metaTitle] = titleMembers(draw);
  const length = draw.chance(0.01) ? LONG_DESCRIPTION : 200 + draw.below(500);
  return {
    id,
    type,
    data: `{"id":"{https://intel.example/}${type}-${id}",${titles}"confidence":${String(draw.below(101))},"description":${JSON.stringify(prose(draw, length))}}`,
    meta: meta(draw, metaTitle, 1),
    created_at: created,
    last_updated_at: updated,
  };
}

/** The title is in `data.title`, or `data.name`, or `meta.title`, or nowhere; and it need not be a string. */
function titleMembers(draw: Random): readonly [data: string, meta: string] {
  const name = JSON.stringify(title(draw));
  const share = draw.fraction();
  if (share < 0.8) return [`"title":${name},`, ''];
  if (share < 0.9) return [`"name":${name},`, ''];
  if (share < 0.93) return [`"title":null,"name":${name},`, ''];
  if (share < 0.98) return ['', `"title":${name},`];
  if (share < 0.985) return ['"title":12345678901234567890.12,', `"title":${name},`];
  if (share < 0.99) return [`"title":{"value":${name},"lang":"en"},`, ''];
  return ['', ''];
}

function meta(draw: Random, metaTitle: string, ingestions: number): string {
  const tlp = draw.chance(0.9) ? `"tlp_color":"${draw.pick(TLP_COLORS)}",` : '';
  return `{${metaTitle}${tlp}"ingestions":${String(ingestions)},"source":"feed-${String(draw.below(20))}"}`;
}

/**
 * The same entity as a later ingestion run found it: nothing new but the run. All of a burst have one time. Of equal
 * keys, jsonb keeps the last.
 */
export function touched(seed: number, row: EntityRow, burst: number): TouchedEntity {
  const runMs = FIRST_DAY_MS + 1_000 * DAY_MS + (burst % 400) * RUN_MS;
  const source = random(seed, STREAM.touch, burst).below(20);
  return {
    id: row.id,
    meta: `${row.meta.slice(0, -1)},"ingestions":2,"source":"feed-${String(source)}"}`,
    last_updated_at: timestamp(runMs, 0),
  };
}

/** `target` draws the number of the other end; one in fifty or so relations has an end that nobody ever wrote. */
export function relations(
  seed: number,
  number: number,
  source: Identity,
  target: (draw: Random) => number,
): RelationRow[] {
  const draw = random(seed, STREAM.relations, number);
  const count = source.type === 'report' || source.type === 'package' ? 3 + draw.below(6) : draw.below(4);
  return Array.from({ length: count }, () => {
    const other = identity(seed, target(draw));
    const dangling = draw.fraction();
    const { created, updated } = times(draw);
    return {
      id: draw.uuid(),
      key: draw.pick(RELATION_KEYS[source.type]),
      subtype: draw.pick(SUBTYPES),
      source_id: dangling < 0.002 ? draw.uuid() : source.id,
      source_type: source.type,
      target_id: dangling > 0.985 ? draw.uuid() : other.id,
      target_type: other.type,
      data: `{"confidence":${String(draw.below(101))}}`,
      created_at: created,
      last_updated_at: updated,
    };
  });
}

/** One id in a thousand is beyond 2^53, where JavaScript numbers are no longer exact. */
export function extractId(number: number): string {
  return String(number % 1000 === 999 ? 9_007_199_254_740_993n + BigInt(number) : number + 1);
}

export function extract(seed: number, number: number): ExtractRow {
  const draw = random(seed, STREAM.extract, number);
  const kind = draw.pick(EXTRACT_KINDS);
  const { created, updated } = times(draw);
  return {
    id: extractId(number),
    kind,
    value: extractValue(kind, number, draw),
    meta: `{"classification":"${draw.chance(0.1) ? 'good' : 'bad'}"}`,
    created_at: created,
    last_updated_at: updated,
  };
}

/** Different for every number. */
function extractValue(kind: (typeof EXTRACT_KINDS)[number], number: number, draw: Random): string {
  switch (kind) {
    case 'ipv4': {
      // Odd factor: a permutation of all addresses.
      const address = Math.imul(number, 0x9e37_79b1) >>> 0;
      return [24, 16, 8, 0].map((shift) => String((address >>> shift) & 255)).join('.');
    }
    case 'domain':
      return `${word(draw)}-${word(draw)}${String(number)}.example`;
    case 'uri':
      return `https://${word(draw)}.example/${word(draw)}?id=${String(number)}`;
    case 'hash-sha256':
      return number.toString(16).padStart(8, '0') + (draw.uuid() + draw.uuid()).replaceAll('-', '').slice(8);
    case 'email':
      return `${word(draw)}.${String(number)}@${word(draw)}.example`;
  }
}

/** What an entity observed or was sighted with. `pick` draws the number of an extract; `unknown` is one nobody wrote. */
export function links(
  seed: number,
  number: number,
  from: Identity,
  pick: (draw: Random) => number,
  unknown: number,
): LinkRow[] {
  const draw = random(seed, STREAM.links, number);
  const count = from.type === 'indicator' ? 3 + draw.below(8) : from.type === 'eclecticiq-sighting' ? 2 : 0;
  const extracts = new Set<number>();
  while (extracts.size < count) extracts.add(pick(draw));
  if (count > 0 && draw.chance(0.02)) extracts.add(unknown);
  return [...extracts].map((target) => {
    const { created, updated } = times(draw);
    const share = draw.fraction();
    return {
      entity_id: from.id,
      extract_id: extractId(target),
      // `test-mechanism` is in no list of the mapping.
      link_type: share < 0.01 ? 'test-mechanism' : share < 0.2 ? 'sighted' : 'observed',
      created_at: created,
      last_updated_at: updated,
    };
  });
}

function times(draw: Random): { readonly created: string; readonly updated: string } {
  const createdMs = FIRST_DAY_MS + draw.below(700 * DAY_MS);
  const created = timestamp(createdMs, draw.below(1000));
  const updatedMs = createdMs + 1 + draw.below(200 * DAY_MS);
  const inRun = draw.chance(0.3);
  return {
    created,
    updated: inRun
      ? timestamp(Math.ceil(updatedMs / RUN_MS) * RUN_MS, 0)
      : timestamp(updatedMs, 999 - draw.below(1000)),
  };
}

/** ISO 8601, UTC, microseconds. */
function timestamp(timeMs: number, micros: number): string {
  return `${new Date(timeMs).toISOString().slice(0, -1)}${String(micros).padStart(3, '0')}Z`;
}
