/** The outcome of sync-data, for people on stderr and as the exit code. */
import { driftIn } from '../core/whole-graph.ts';
import type { Left } from '../pipelines/reconcile/ask.ts';
import type { Outcome } from '../pipelines/reconcile/reconcile.ts';

const DRIFT_FOUND = 3;

export function conclude(
  outcome: Outcome,
  {
    dryRun,
    failOnDrift,
    direct,
  }: { readonly dryRun: boolean; readonly failOnDrift: boolean; readonly direct: boolean },
): void {
  const { counts, left, wholeGraph } = outcome;
  const tables = [...(wholeGraph?.found.tables.values() ?? [])];
  const unnamed = tables.reduce((sum, table) => sum + table.unnamed, 0);
  const unconfirmed = tables.reduce((sum, table) => sum + table.unconfirmed, 0);
  sayUnconfirmed(counts.unconfirmed, 'entities', 'are listed apart');
  sayUnconfirmed(unconfirmed, 'other keys', 'are counted apart');
  if (unnamed > 0)
    process.stderr.write(
      `${unnamed} nodes or relationships of the mapping have a key that no row can have; nothing but a hand in the graph removes them.\n`,
    );
  sayLeft(left, 'entities', direct);
  if (wholeGraph !== null) sayLeft(wholeGraph.left, 'other keys', direct);

  if (failOnDrift && driftOf(outcome) > 0) process.exitCode = DRIFT_FOUND;
  else if (!dryRun && stillOpen(outcome) > 0) process.exitCode = 1;
}

/** How much differed when it was compared. */
export function driftOf({ counts, wholeGraph }: Outcome): number {
  const { missing, not_deleted, outdated, strange, different } = counts;
  const entities = missing + not_deleted + outdated + strange + different;
  if (wholeGraph === null) return entities;
  const tables = [...wholeGraph.found.tables.values()];
  return entities + driftIn(wholeGraph.found) + tables.reduce((sum, { unnamed }) => sum + unnamed, 0);
}

/** How much is not mended, or could not be judged: 0 is proof, of a run that repairs. */
export function stillOpen({ counts, left, wholeGraph }: Outcome): number {
  const tables = [...(wholeGraph?.found.tables.values() ?? [])];
  const apart = tables.reduce((sum, { unnamed, unconfirmed }) => sum + unnamed + unconfirmed, 0);
  return left.count + (wholeGraph?.left.count ?? 0) + counts.unconfirmed + apart;
}

function sayUnconfirmed(count: number, what: string, where: string): void {
  if (count === 0) return;
  process.stderr.write(
    `${count} ${what} changed all the time or could not be confirmed; they ${where} and not repaired.\n`,
  );
}

function sayLeft({ count, some, unasked }: Left, what: string, direct: boolean): void {
  if (count === 0) return;
  const named = `${some.join(', ')}${count > some.length ? ', …' : ''}`;
  const asked = count - unasked;
  const requests = [
    ...(asked > 0
      ? ['what was asked for is durable, and will be served unless it is a dead letter (dead-letters list)']
      : []),
    ...(unasked > 0 ? [`${unasked} were not asked for, since the stream does not answer in time`] : []),
  ];
  process.stderr.write(
    `${count} ${what} still differ (${named})${direct ? '' : `: ${requests.join('; ')}`}. Run it again later.\n`,
  );
}
