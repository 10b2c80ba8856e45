/** The outcome of sync-data, for people on stderr and as the exit code. */
import { driftIn } from '../core/whole-graph.ts';
import type { Left } from '../pipelines/reconcile/ask.ts';
import type { Outcome } from '../pipelines/reconcile/reconcile.ts';

const FAILED = 1;
const DRIFT_FOUND = 3;

interface Told {
  readonly dryRun: boolean;
  readonly failOnDrift: boolean;
}

export function conclude(outcome: Outcome, { direct, ...told }: Told & { readonly direct: boolean }): void {
  const { counts, left, refused, wholeGraph } = outcome;
  const tables = [...(wholeGraph?.found.tables.values() ?? [])];
  const unnamed = unnamedIn(outcome);
  const unconfirmed = tables.reduce((sum, table) => sum + table.unconfirmed, 0);
  sayUnconfirmed(counts.unconfirmed, 'entities', 'are listed apart');
  sayUnconfirmed(unconfirmed, 'other keys', 'are counted apart');
  if (unnamed > 0)
    process.stderr.write(
      `${unnamed} nodes or relationships of the mapping have a key that no row can have; nothing but a hand in the graph removes them.\n`,
    );
  sayLeft(left, 'entities', direct);
  if (wholeGraph !== null) sayLeft(wholeGraph.left, 'other keys', direct);
  if (refused > 0)
    process.stderr.write(
      `${refused} rows cannot be written to the graph as they are; the log says why, of each.\n`,
    );
  process.exitCode = exitCodeAfter(outcome, told);
}

export function exitCodeAfter(outcome: Outcome, { dryRun, failOnDrift }: Told): number {
  if (failOnDrift && driftOf(outcome) > 0) return DRIFT_FOUND;
  return !dryRun && stillOpen(outcome, { dryRun }) > 0 ? FAILED : 0;
}

/** How much differed when it was compared. */
export function driftOf(outcome: Outcome): number {
  const { missing, not_deleted, outdated, strange, different } = outcome.counts;
  const entities = missing + not_deleted + outdated + strange + different;
  const { wholeGraph } = outcome;
  return entities + (wholeGraph === null ? 0 : driftIn(wholeGraph.found)) + unnamedIn(outcome);
}

/** How much differs still, or could not be judged: 0 is proof, of a run that compares everything. */
export function stillOpen(outcome: Outcome, { dryRun }: { readonly dryRun: boolean }): number {
  const { counts, left, refused, wholeGraph } = outcome;
  const tables = [...(wholeGraph?.found.tables.values() ?? [])];
  const unconfirmed = tables.reduce((sum, table) => sum + table.unconfirmed, counts.unconfirmed);
  if (dryRun) return driftOf(outcome) + unconfirmed;
  return left.count + (wholeGraph?.left.count ?? 0) + refused + unnamedIn(outcome) + unconfirmed;
}

/** Of a comparison of everything: what has a key that no row can have, entities too. */
function unnamedIn({ unnamed, wholeGraph }: Outcome): number {
  if (wholeGraph === null) return 0;
  return [...wholeGraph.found.tables.values()].reduce((sum, table) => sum + table.unnamed, unnamed);
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
