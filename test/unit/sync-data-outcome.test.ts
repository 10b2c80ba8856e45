/** What a run of sync-data comes to: how much drifted, how much is open (0 may be proof), and the exit code of each mode. */
import { expect, it } from 'vitest';
import { driftOf, exitCodeAfter, stillOpen } from '../../src/cli/sync-data-outcome.ts';
import type { WholeGraph } from '../../src/core/whole-graph.ts';
import type { Left } from '../../src/pipelines/reconcile/ask.ts';
import type { Outcome } from '../../src/pipelines/reconcile/reconcile.ts';

const NONE = { missing: 0, not_deleted: 0, different: 0, unconfirmed: 0 };
const LEFT_NONE: Left = { count: 0, some: [], unasked: 0 };
const LEFT_TWO: Left = { count: 2, some: ['a', 'b'], unasked: 1 };

type Counts = Partial<Outcome['counts']>;
type TableCounts = WholeGraph['tables'] extends ReadonlyMap<string, infer T> ? Partial<T> : never;

const outcome = (counts: Counts = {}, more: Partial<Outcome> = {}): Outcome => ({
  counts: { ok: 5, outdated: 0, strange: 0, ...NONE, ...counts },
  unnamed: 0,
  left: LEFT_NONE,
  refused: 0,
  wholeGraph: null,
  ...more,
});
const whole = (table: TableCounts, { idleStubs = 0, left = LEFT_NONE } = {}): Outcome['wholeGraph'] => ({
  found: {
    tables: new Map([
      ['public.extract', { ok: 3, unnamed: 0, ...NONE }],
      ['public.relation', { ok: 3, unnamed: 0, ...NONE, ...table }],
    ]),
    idleStubs,
    keys: () => expect.unreachable('keys are not looked at'),
    idle: () => expect.unreachable('stubs are not looked at'),
  },
  left,
});

const FAILS = { dryRun: true, failOnDrift: true };
const DRY = { dryRun: true, failOnDrift: false };
const REPAIR = { dryRun: false, failOnDrift: false };

type Expected = readonly [drift: number, openAfterDryRun: number, openAfterRepair: number];
type Codes = readonly [failOnDrift: number, dryRun: number, repair: number];
const FOUND: [Expected, Codes] = [
  [2, 2, 0],
  [3, 0, 0],
];
const found = (what: string, of: Outcome): [string, Outcome, ...typeof FOUND] => [what, of, ...FOUND];

it.each<[string, Outcome, Expected, Codes]>([
  ['nothing', outcome(), [0, 0, 0], [0, 0, 0]],
  ['nothing in the whole graph', outcome({}, { wholeGraph: whole({}) }), [0, 0, 0], [0, 0, 0]],
  found('missing entities', outcome({ missing: 2 })),
  found('entities not deleted', outcome({ not_deleted: 2 })),
  found('outdated entities', outcome({ outdated: 2 })),
  found('strange entities', outcome({ strange: 2 })),
  found('different entities', outcome({ different: 2 })),
  found('other keys that are missing', outcome({}, { wholeGraph: whole({ missing: 2 }) })),
  found('other keys not deleted', outcome({}, { wholeGraph: whole({ not_deleted: 2 }) })),
  found('other keys that are different', outcome({}, { wholeGraph: whole({ different: 2 }) })),
  found('stubs that nothing holds', outcome({}, { wholeGraph: whole({}, { idleStubs: 2 }) })),
  // Of these nobody knows whether they drift; there is no proof that they do not.
  ['nothing but entities unconfirmed', outcome({ ok: 0, unconfirmed: 5 }), [0, 5, 5], [0, 0, 1]],
  [
    'entities and other keys unconfirmed',
    outcome({ unconfirmed: 1 }, { wholeGraph: whole({ unconfirmed: 2 }) }),
    [0, 3, 3],
    [0, 0, 1],
  ],
  ['entities that differ still', outcome({ missing: 3 }, { left: LEFT_TWO }), [3, 3, 2], [3, 0, 1]],
  [
    'other keys that differ still',
    outcome({}, { wholeGraph: whole({ missing: 3 }, { left: LEFT_TWO }) }),
    [3, 3, 2],
    [3, 0, 1],
  ],
  ['rows that cannot be written', outcome({ missing: 1 }, { refused: 1 }), [1, 1, 1], [3, 0, 1]],
  [
    'what has a key that no row can have',
    outcome({}, { unnamed: 1, wholeGraph: whole({ unnamed: 2 }) }),
    [3, 3, 3],
    [3, 0, 1],
  ],
  ['the same where entities alone are compared', outcome({}, { unnamed: 1 }), [0, 0, 0], [0, 0, 0]],
])('%s', (_, of, expected, codes) => {
  expect([driftOf(of), stillOpen(of, DRY), stillOpen(of, REPAIR)]).toEqual(expected);
  expect([FAILS, DRY, REPAIR].map((mode) => exitCodeAfter(of, mode))).toEqual(codes);
});
