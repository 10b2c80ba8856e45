/**
 * Any order, any repetition (reliability 12): what the graph holds at the end depends on nothing but the last word on
 * each key. The model is that sentence, and knows nothing of locks, tombstones or floors.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { KeyedMutation } from '../../src/core/graph.ts';
import { coalesce } from '../../src/core/projection.ts';
import { persist } from '../support/lanes.ts';
import { soak } from '../support/soak.ts';
import {
  at,
  createTestGraph,
  entity,
  extract,
  type Lane,
  link,
  linkDelete,
  nodeDelete,
  relation,
  relationDelete,
  type TestGraph,
} from '../support/test-graph.ts';

let g: TestGraph;
beforeAll(async () => {
  g = await createTestGraph('histories');
});
afterAll(() => g.dispose());

const RUNS = soak ? 40 : 12;
/** Positions of a run; a run's history is not as long. */
const SPAN = 1000;

type Word =
  | { readonly say: 'entity' | 'no entity'; readonly of: number; readonly typeLabel: string | null }
  | { readonly say: 'extract' | 'no extract'; readonly of: number }
  | {
      readonly say: 'relation' | 'no relation';
      readonly of: number;
      readonly from: number;
      readonly to: number;
    }
  | { readonly say: 'link' | 'no link'; readonly from: number; readonly to: number; readonly type: string }
  | { readonly say: 'truncate'; readonly table: string };

const small = fc.integer({ min: 0, max: 2 });
const word: fc.Arbitrary<Word> = fc.oneof(
  fc.record({
    say: fc.constantFrom('entity' as const, 'entity' as const, 'no entity' as const),
    of: small,
    typeLabel: fc.constantFrom('Indicator', 'Ttp', null),
  }),
  fc.record({ say: fc.constantFrom('extract' as const, 'no extract' as const), of: small }),
  fc.record({
    say: fc.constantFrom('relation' as const, 'relation' as const, 'no relation' as const),
    of: small,
    from: small,
    to: small,
  }),
  fc.record({
    say: fc.constantFrom('link' as const, 'no link' as const),
    from: small,
    to: small,
    type: fc.constantFrom('observed', 'novel'),
  }),
  {
    weight: 1,
    arbitrary: fc.record({
      say: fc.constant('truncate' as const),
      table: fc.constantFrom('public.entity', 'public.relation'),
    }),
  },
);

/** The history, in order; then how it is delivered: shuffled, some of it up to three times, in batches. */
const delivery = fc.array(word, { minLength: 1, maxLength: 16 }).chain((history) =>
  fc.record({
    history: fc.constant(history),
    order: fc
      .array(fc.integer({ min: 1, max: 3 }), { minLength: history.length, maxLength: history.length })
      .chain((times) => {
        const all = times.flatMap((n, i) => Array.from({ length: n }, () => i));
        return fc.shuffledSubarray(all, { minLength: all.length, maxLength: all.length });
      }),
    sizes: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 48, maxLength: 48 }),
  }),
);

interface Names {
  readonly entity: (n: number) => string;
  readonly extract: (n: number) => bigint;
}

function mutationOf(
  said: Exclude<Word, { say: 'truncate' }>,
  position: ReturnType<typeof at>,
  names: Names,
): KeyedMutation {
  switch (said.say) {
    case 'entity':
      return entity(names.entity(said.of), position, { typeLabel: said.typeLabel });
    case 'no entity':
      return nodeDelete(names.entity(said.of), position);
    case 'extract':
      return extract(names.extract(said.of), position);
    case 'no extract':
      return nodeDelete(names.extract(said.of), position);
    case 'relation':
      return relation(g, `r${names.entity(said.of)}`, position, [
        names.entity(said.from),
        names.entity(said.to),
      ]);
    case 'no relation':
      return relationDelete(g, `r${names.entity(said.of)}`, position);
    case 'link':
      return link(g, [names.entity(said.from), names.extract(said.to), said.type], position);
    case 'no link':
      return linkDelete(g, [names.entity(said.from), names.extract(said.to), said.type], position);
  }
}

/** Lines of the graph that the last words describe. */
function expected(history: readonly Word[], base: number, names: Names): string[] {
  const last = new Map<string, { mutation: KeyedMutation; at: string }>();
  for (const [i, said] of history.entries()) {
    const position = at(base + i);
    if (said.say === 'truncate') {
      for (const [id, { mutation }] of last) if (mutation.table === said.table) last.delete(id);
    } else {
      const mutation = mutationOf(said, position, names);
      last.set(`${mutation.table} ${mutation.key}`, { mutation, at: position });
    }
  }
  const lines = new Set<string>();
  const rows = new Set<string | bigint>();
  for (const { mutation, at: position } of last.values()) {
    if (mutation.kind !== 'node-upsert') continue;
    rows.add(mutation.key);
    lines.add(`${mutation.key} ${[mutation.typeLabel].flatMap((l) => l ?? []).join()} ${position}`);
  }
  for (const { mutation, at: position } of last.values()) {
    if (mutation.kind !== 'relationship-upsert') continue;
    const { from, to, key, type } = mutation;
    lines.add(`${type.split('_')[0] ?? ''} ${key} ${from}>${to} ${position}`);
    for (const end of [from, to]) if (!rows.has(end)) lines.add(`${end} Stub `);
  }
  return [...lines].sort();
}

async function actual(names: Names): Promise<string[]> {
  const keys = [0, 1, 2].flatMap((n) => [names.entity(n), names.extract(n)]);
  const rows = await g.cypher(
    `MATCH (n:Entity|Extract) WHERE n.id IN $keys
     RETURN toString(n.id) + ' ' + reduce(t = '', l IN [l IN labels(n) WHERE NOT l ENDS WITH $suffix] | t + l) + ' ' + coalesce(n._position, '') AS line
     UNION ALL
     MATCH (a:Entity)-[r:RELATED|OBSERVED|LINKED]->(b) WHERE a.id IN $keys
     RETURN split(type(r), '_')[0] + ' ' + coalesce(r.id, r._key) + ' ' + a.id + '>' + toString(b.id) + ' ' + r._position AS line`,
    { keys, suffix: g.mapping.sink.namespace },
  );
  return rows.map((row) => String(row['line'])).sort();
}

let run = 0;

it.each([
  ['', false],
  [' while it is filled', true],
])(
  'ends in the same graph, whatever the order and however often%s',
  { timeout: 300_000 },
  async (_, filling) => {
    const lanes = new Map<string, Lane>();
    for (const { table } of g.mapping.tables) lanes.set(table, await g.lane(table, 0, undefined, filling));
    await fc.assert(
      fc.asyncProperty(delivery, async ({ history, order, sizes }) => {
        // Later runs have later positions and other keys, so that floors and tombstones of earlier ones do not meet them.
        run += 1;
        const base = run * SPAN;
        const names: Names = { entity: (n) => `e${run}-${n}`, extract: (n) => BigInt(run * 10 + n) };
        const batches = [...sizes];
        for (let i = 0; i < order.length;) {
          const chunk = order.slice(i, (i += batches.shift() ?? 1));
          const pending: KeyedMutation[] = [];
          for (const index of chunk) {
            const said = history[index];
            if (said === undefined) continue;
            if (said.say === 'truncate') await lanes.get(said.table)?.truncate(at(base + index));
            else pending.push(mutationOf(said, at(base + index), names));
          }
          for (const [table, lane] of lanes) {
            const own = coalesce(pending.filter((m) => m.table === table));
            if (own.length > 0) await persist(() => lane.apply(own));
          }
        }
        expect(await actual(names)).toEqual(expected(history, base, names));
      }),
      { numRuns: RUNS },
    );
  },
);
