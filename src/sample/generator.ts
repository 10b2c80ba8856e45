/**
 * The life of a sample platform, as steps to be carried out in order. Same seed and size, same steps, byte for byte.
 *
 * A step holds at most some thousand rows and nothing is remembered from step to step, so any size fits in memory.
 * Entities come in chunks, each with its relations and links. A relation's other end is drawn from all entities by
 * Zipf's law, so it may come chunks later; now and then it never comes. After each chunk, an ingestion run that
 * finds nothing new touches some of its entities, and transients (entities beyond the asked number) are deleted,
 * with most of their relations. At the end there are exactly `entities` entities.
 */
import { entity, extract, type Identity, identity, links, relations, touched } from './entities.ts';
import { type Random, zipf } from './random.ts';
import type { EntityRow, ExtractRow, LinkRow, RelationRow, TouchedEntity } from './rows.ts';

export interface GenerateOptions {
  readonly seed: number;
  readonly entities: number;
}

export type Step =
  | { readonly op: 'insert'; readonly table: 'entity'; readonly rows: readonly EntityRow[] }
  | { readonly op: 'insert'; readonly table: 'relation'; readonly rows: readonly RelationRow[] }
  | { readonly op: 'insert'; readonly table: 'extract'; readonly rows: readonly ExtractRow[] }
  | { readonly op: 'insert'; readonly table: 'entity_extract'; readonly rows: readonly LinkRow[] }
  | { readonly op: 'touch'; readonly table: 'entity'; readonly rows: readonly TouchedEntity[] }
  | {
      readonly op: 'delete';
      readonly table: 'entity' | 'relation';
      readonly rows: readonly { readonly id: string }[];
    };

const CHUNK = 500;
/** Of a chunk, touched by the next ingestion run. */
const BURST = 25;
/** A transient for every so many entities. */
const ENTITIES_PER_TRANSIENT = 100;
const EXTRACTS_PER_ENTITY = 0.5;
const FEWEST_EXTRACTS = 50;
/** Below 1, so that the best connected entity has some per cent of all relations, not a tenth of them. */
const EXPONENT = 0.9;

export function* generate({ seed, entities }: GenerateOptions): Generator<Step, void, undefined> {
  const extracts = Math.max(FEWEST_EXTRACTS, Math.ceil(entities * EXTRACTS_PER_ENTITY));
  const anyEntity = entities === 0 ? (): number => 0 : scattered(entities);
  const anyExtract = scattered(extracts);
  const relationsOf = (number: number, source: Identity): RelationRow[] =>
    relations(seed, number, source, anyEntity);

  let extractsDone = 0;
  for (let start = 0, chunk = 0; start < entities; start += CHUNK, chunk++) {
    const end = Math.min(start + CHUNK, entities);
    const rows = range(start, end, (number) => entity(seed, number));

    const extractsUpTo = Math.ceil((extracts * end) / entities);
    yield {
      op: 'insert',
      table: 'extract',
      rows: range(extractsDone, extractsUpTo, (number) => extract(seed, number)),
    };
    extractsDone = extractsUpTo;

    const transients = range(
      Math.floor(start / ENTITIES_PER_TRANSIENT),
      Math.floor(end / ENTITIES_PER_TRANSIENT),
      (number) => ({ number: entities + number, ...identity(seed, entities + number) }),
    );
    const transientRelations = transients.flatMap((transient) => relationsOf(transient.number, transient));
    const insertEntities: Step = {
      op: 'insert',
      table: 'entity',
      rows: [...rows, ...transients.map(({ number }) => entity(seed, number))],
    };
    const insertRelations: Step = {
      op: 'insert',
      table: 'relation',
      rows: [
        ...range(start, end, (number) => relationsOf(number, identity(seed, number))).flat(),
        ...transientRelations,
      ],
    };
    // Every fourth chunk, relations arrive before the entities they start from.
    yield* chunk % 4 === 3 ? [insertRelations, insertEntities] : [insertEntities, insertRelations];
    yield {
      op: 'insert',
      table: 'entity_extract',
      rows: range(start, end, (number) =>
        links(seed, number, identity(seed, number), anyExtract, extracts + number),
      ).flat(),
    };

    const burst = rows.slice(-BURST).map((row) => touched(seed, row, chunk));
    yield { op: 'touch', table: 'entity', rows: burst };
    yield { op: 'delete', table: 'entity', rows: transients.map(({ id }) => ({ id })) };
    const forgotten = transientRelations.filter((_, index) => index % 8 !== 7);
    yield { op: 'delete', table: 'relation', rows: forgotten.map(({ id }) => ({ id })) };
  }
}

/** Numbers in [0, size) by Zipf's law, the frequent ones scattered over the range. */
function scattered(size: number): (draw: Random) => number {
  const rank = zipf(size, EXPONENT);
  const stride = coprime(size);
  return (draw) => (rank(draw) * stride + (size >> 1)) % size;
}

/** About 0.618 of the size and without a common divisor: multiples of it, modulo the size, visit every number once. */
function coprime(size: number): number {
  let candidate = Math.max(1, Math.floor(size * 0.618));
  while (divisor(candidate, size) !== 1) candidate++;
  return candidate;
}

function divisor(a: number, b: number): number {
  return b === 0 ? a : divisor(b, a % b);
}

function range<T>(start: number, end: number, make: (number: number) => T): T[] {
  return Array.from({ length: end - start }, (_, index) => make(start + index));
}
