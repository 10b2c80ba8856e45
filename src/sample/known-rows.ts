/**
 * The rows that one connection of the workload knows and nobody else changes: keys only, in bounded memory. Since
 * connections share no rows, they never wait for each other's locks and cannot deadlock.
 */
import type { ClientBase } from 'pg';
import type { Random } from './random.ts';
import type { LinkRow } from './rows.ts';
import { qualified, type ReplicatedTable } from './tables.ts';

const CAPACITY = 5_000;

/** A bag of bounded size; when it is full, a random thing falls out. */
export class Bag<T> {
  readonly #things: T[] = [];
  readonly #draw: Random;

  constructor(draw: Random) {
    this.#draw = draw;
  }

  add(thing: T): void {
    if (this.#things.length >= CAPACITY) this.take();
    this.#things.push(thing);
  }

  /** Any thing, which stays in the bag. */
  peek(): T | undefined {
    return this.#things[this.#draw.below(this.#things.length)];
  }

  /** Any thing, which leaves the bag. */
  take(): T | undefined {
    const last = this.#things.pop();
    const index = this.#draw.below(this.#things.length + 1);
    if (last === undefined || index === this.#things.length) return last;
    const taken = this.#things[index];
    this.#things[index] = last;
    return taken;
  }
}

export interface KnownEntity {
  readonly id: string;
  readonly type: string;
}
export type KnownLink = Pick<LinkRow, 'entity_id' | 'extract_id' | 'link_type'>;

export interface KnownRows {
  /** What the bags draw by, and the actions on them. */
  readonly draw: Random;
  readonly entities: Bag<KnownEntity>;
  /** Entities that were deleted, or that only a relation has named so far. */
  readonly absent: Bag<KnownEntity>;
  readonly relations: Bag<string>;
  readonly extracts: Bag<string>;
  readonly links: Bag<KnownLink>;
}

/** Learns some of the rows that are there, and deals them out: a link goes where its entity goes. */
export async function knownRows(
  client: ClientBase,
  schema: string,
  draws: readonly Random[],
  leftAlone: ReadonlySet<string>,
): Promise<readonly KnownRows[]> {
  const hands = draws.map((draw) => ({
    draw,
    entities: new Bag<KnownEntity>(draw),
    absent: new Bag<KnownEntity>(draw),
    relations: new Bag<string>(draw),
    extracts: new Bag<string>(draw),
    links: new Bag<KnownLink>(draw),
  }));
  const deal = async <T extends object>(
    table: ReplicatedTable,
    columns: string,
    owner: (row: T) => string,
    give: (hand: KnownRows, row: T) => void,
  ): Promise<void> => {
    const { rows } = await client.query<T>(
      `select ${columns} from ${qualified(schema, table)} order by ${columns} limit $1`,
      [CAPACITY * hands.length],
    );
    for (const row of rows) {
      const hand = hands[Number.parseInt(owner(row).slice(-6), 16) % hands.length];
      if (hand !== undefined) give(hand, row);
    }
  };
  await deal<KnownEntity>(
    'entity',
    'id, type',
    ({ id }) => id,
    ({ entities }, row) => {
      if (!leftAlone.has(row.id)) entities.add(row);
    },
  );
  await deal<{ id: string }>(
    'relation',
    'id',
    ({ id }) => id,
    ({ relations }, { id }) => {
      relations.add(id);
    },
  );
  await deal<{ id: string }>(
    'extract',
    'id',
    ({ id }) => id,
    ({ extracts }, { id }) => {
      extracts.add(id);
    },
  );
  await deal<KnownLink>(
    'entity_extract',
    'entity_id, extract_id, link_type',
    (row) => row.entity_id,
    ({ links }, row) => {
      links.add(row);
    },
  );
  return hands;
}
