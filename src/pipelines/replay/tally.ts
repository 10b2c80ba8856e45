/** What a replay comes to, by table, and how far it is. */
import type { TableMapping } from '../../core/mapping.ts';
import type { Stretch } from '../../core/replay.ts';
import type { Effect } from '../../neo4j/rehearsal.ts';
import type { Outcome, PartitionContext } from '../project/partition.ts';

/** Its effect only a rehearsal knows. */
export type Counts = Outcome & Effect;

export interface Pace {
  readonly partitions: number;
  /** Offsets passed, by earlier runs as well; what compaction has removed counts as a record. */
  readonly passed: number;
  readonly of: number;
  /** Of this run, a second. */
  readonly rate: number;
  readonly etaSeconds: number | null;
}

export interface Tally {
  readonly counts: ReadonlyMap<string, Counts>;
  readonly begin: (stretches: readonly (Stretch & { readonly next: bigint })[]) => void;
  readonly add: (table: string, more: Partial<Counts>) => void;
  /** The part of a partition's context that counts. */
  readonly of: (table: TableMapping, partition: number) => Pick<PartitionContext, 'commit' | 'onOutcome'>;
  readonly pace: () => Pace;
}

const NOTHING: Counts = {
  records: 0,
  applied: 0,
  older: 0,
  asked: 0,
  failed: 0,
  changed: 0,
  removed: 0,
  emptied: 0,
};

export function createTally(tables: readonly TableMapping[]): Tally {
  const counts = new Map<string, Counts>(tables.map(({ table }) => [table, NOTHING]));
  const ways = new Map<string, Stretch & { readonly next: bigint }>();
  let startedAt = performance.now();
  let before = 0;

  function add(table: string, more: Partial<Counts>): void {
    const sum = { ...(counts.get(table) ?? NOTHING) };
    for (const [name, count] of Object.entries(more)) sum[name as keyof Counts] += count;
    counts.set(table, sum);
  }

  function passed(): number {
    return [...ways.values()].reduce((sum, { start, next }) => sum + Number(next - start), 0);
  }

  return {
    counts,
    add,
    begin(stretches) {
      for (const stretch of stretches) ways.set(nameOf(stretch), stretch);
      startedAt = performance.now();
      before = passed();
    },
    of: ({ table, topic }, partition) => ({
      commit(next) {
        const way = ways.get(nameOf({ topic, partition }));
        if (way !== undefined) ways.set(nameOf(way), { ...way, next });
      },
      onOutcome(outcome) {
        add(table, outcome);
      },
    }),
    pace() {
      const of = [...ways.values()].reduce((sum, { start, end }) => sum + Number(end - start), 0);
      const done = passed();
      const seconds = (performance.now() - startedAt) / 1000;
      const rate = Math.round((done - before) / seconds);
      const etaSeconds = rate === 0 ? null : Math.ceil((of - done) / rate);
      return { partitions: ways.size, passed: done, of, rate, etaSeconds };
    },
  };
}

function nameOf({ topic, partition }: Pick<Stretch, 'topic' | 'partition'>): string {
  return `${topic}-${partition}`;
}
