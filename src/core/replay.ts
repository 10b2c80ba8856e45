/** What `graph replay` is asked for, and the stretches of partitions that it comes to: pure, decided before anything is touched. */
import { AppError } from './errors.ts';
import { instantOf } from './instants.ts';
import type { Mapping, TableMapping } from './mapping.ts';

export interface ReplayOptions {
  /** Tables or topics, separated by commas; all if not given. */
  readonly topics?: string;
  /** `earliest`, a date, or offsets. */
  readonly from: string;
  /** Of the date, an IANA name. */
  readonly timezone: string;
}

export type From =
  | { readonly kind: 'earliest' }
  /** Published at this time or later, in ms since the Unix epoch. */
  | { readonly kind: 'published'; readonly sinceMs: number }
  /** Partitions that are not named are left out. */
  | { readonly kind: 'offsets'; readonly offsets: readonly Offset[] };

export interface Offset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
}

export interface ReplayRequest {
  /** In the order of the mapping. */
  readonly tables: readonly TableMapping[];
  readonly from: From;
}

/** What a topic's partition holds. */
export interface Held {
  readonly topic: string;
  readonly partition: number;
  readonly low: bigint;
  /** The offset that the next record will get. */
  readonly end: bigint;
}

/** Records from `start` on, up to but without `end`. */
export interface Stretch {
  readonly topic: string;
  readonly partition: number;
  readonly start: bigint;
  readonly end: bigint;
}

const OFFSET = /^([A-Za-z0-9._-]+):(\d{1,9}):(\d{1,18})$/;
const DATE = /^\d{4}-/;

/** Throws USAGE. */
export function replayRequest({ topics, from, timezone }: ReplayOptions, mapping: Mapping): ReplayRequest {
  const named =
    topics === undefined ? null : namesIn(topics).map((name) => tableOf(name, '--topics', mapping));
  const parts = namesIn(from).map((part) => OFFSET.exec(part));
  if (parts.every((part) => part !== null)) {
    const offsets = parts.map(([, name = '', partition, offset = '']) => ({
      topic: tableOf(name, '--from', mapping).topic,
      partition: Number(partition),
      offset: BigInt(offset),
    }));
    return offsetsRequest(offsets, named, mapping);
  }
  const tables = mapping.tables.filter((table) => named?.includes(table) ?? true);
  if (from === 'earliest') return { tables, from: { kind: 'earliest' } };
  if (DATE.test(from)) return { tables, from: { kind: 'published', sinceMs: instantOf(from, timezone) } };
  throw usage(
    `--from ${JSON.stringify(from)}: use earliest, a date (yyyy-mm-dd[ hh:mm[:ss]]) or offsets (topic:partition:offset, separated by commas).`,
  );
}

function offsetsRequest(
  offsets: readonly Offset[],
  named: readonly TableMapping[] | null,
  mapping: Mapping,
): ReplayRequest {
  const places = offsets.map(({ topic, partition }) => `${topic}:${partition}`);
  const twice = places.find((place, i) => places.indexOf(place) < i);
  if (twice !== undefined) throw usage(`--from names ${twice} twice.`);
  const within = new Set(offsets.map(({ topic }) => topic));
  const differ = named?.some(({ topic }) => !within.has(topic)) ?? false;
  if (differ || (named !== null && new Set(named).size < within.size))
    throw usage('--from names offsets of other topics than --topics: leave --topics out.');
  return {
    tables: mapping.tables.filter(({ topic }) => within.has(topic)),
    from: { kind: 'offsets', offsets },
  };
}

function tableOf(name: string, option: string, { tables }: Mapping): TableMapping {
  const found =
    tables.find(({ table, topic }) => name === table || name === topic) ??
    tables.find(({ table }) => table === `public.${name}`);
  if (found !== undefined) return found;
  const known = tables.map(({ table }) => table).join(', ');
  throw usage(`${option} ${JSON.stringify(name)}: not mapped; the tables are ${known}.`);
}

/**
 * Where each partition begins; `published`: the first offset of each partition since the time that was asked for.
 * Throws USAGE for an offset that its partition does not have.
 */
export function startsOf(
  { from }: ReplayRequest,
  held: readonly Held[],
  published: readonly Offset[],
): Offset[] {
  if (from.kind === 'earliest')
    return held.map(({ topic, partition, low }) => ({ topic, partition, offset: low }));
  if (from.kind === 'published') return [...published];
  return from.offsets.map((wanted) => {
    const { topic, partition, offset } = wanted;
    const range = held.find((one) => one.topic === topic && one.partition === partition);
    if (range === undefined) throw usage(`--from: topic ${topic} has no partition ${partition}.`);
    const { low, end } = range;
    if (low <= offset && offset <= end) return wanted;
    throw usage(
      `--from: partition ${partition} of topic ${topic} has offsets ${low} to ${end}, not ${offset}.`,
    );
  });
}

/**
 * A replay ends where the stream is: what the graph has not had yet is none of its business. `reached`: the offset up to
 * which the stream has applied a partition.
 */
export function stretchesOf(
  starts: readonly Offset[],
  reached: (topic: string, partition: number) => bigint,
): Stretch[] {
  return starts.map(({ topic, partition, offset: start }) => {
    const end = reached(topic, partition);
    return { topic, partition, start, end: end > start ? end : start };
  });
}

/** For people: `public.entity, public.relation from earliest`. */
export function describeRequest({ tables, from }: ReplayRequest): string {
  const names = tables.map(({ table }) => table).join(', ');
  if (from.kind === 'earliest') return `${names} from earliest`;
  if (from.kind === 'published') return `${names} from ${new Date(from.sinceMs).toISOString()}`;
  const offsets = from.offsets.map(({ topic, partition, offset }) => `${topic}:${partition}:${offset}`);
  return `${names} from ${offsets.sort().join(',')}`;
}

function namesIn(list: string): string[] {
  return list.split(',').map((name) => name.trim());
}

function usage(message: string): AppError {
  return new AppError('USAGE', message);
}
