/**
 * The demo's proof that drift is found and repaired: the graph is damaged behind the replicator's back, then
 * `graph sync-data` reports it, repairs it, and reports a clean graph.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Driver } from 'neo4j-driver';
import type { CheckReport } from '../core/check-report.ts';
import type { Stack } from '../stack/stack.ts';
import { print, table } from './demo-output.ts';
import { runGraph } from './demo-processes.ts';

/** What the graph suffers, and the field of the report in which it must appear. */
const DAMAGE = [
  ['n_missing', 'deleted from the graph', 0, 20, 'DETACH DELETE e'],
  [
    'n_outdated',
    'set back in the graph',
    20,
    35,
    `SET e.last_updated_at = e.last_updated_at - 1, e.title = 'stale'`,
  ],
  ['n_strange', 'set ahead in the graph', 35, 40, 'SET e.last_updated_at = e.last_updated_at + 86400000000'],
] as const;
const FOREIGN = 10;

/** True if the reports were as they must be: each damage in its field, and then none. */
export async function driftAndRepair(
  stack: Stack,
  driver: Driver,
  folder: string,
  say: (line: string) => void,
): Promise<boolean> {
  say('damaging the graph: entities deleted, set back, set ahead, and some that PostgreSQL does not have');
  const expected: Record<string, number> = { n_not_deleted: FOREIGN };
  for (const [field, , from, to, change] of DAMAGE) {
    const { records } = await driver.executeQuery(
      `MATCH (e:Entity) WHERE e.type IS NOT NULL WITH e ORDER BY e.id SKIP ${from} LIMIT ${to - from} ${change} RETURN count(*) AS n`,
    );
    expected[field] = Number(records[0]?.get('n') ?? 0);
  }
  await driver.executeQuery(
    `UNWIND range(1, ${FOREIGN}) AS i CREATE (:Entity:Indicator {id: randomUUID(), type: 'indicator', last_updated_at: i})`,
  );

  const run = async (name: string, args: readonly string[]): Promise<CheckReport> => {
    const file = join(folder, `${name}.json`);
    await runGraph(stack, ['sync-data', '--check-results-file', file, ...args]);
    return JSON.parse(readFileSync(file, 'utf8')) as CheckReport;
  };
  say('graph sync-data --dry-run');
  const found = await run('found', ['--dry-run']);
  say('graph sync-data');
  await run('repaired', []);
  say('graph sync-data --dry-run, again');
  const clean = await run('clean', ['--dry-run']);

  const fields = ['n_missing', 'n_not_deleted', 'n_outdated', 'n_strange', 'n_ok'] as const;
  print('', 'graph sync-data');
  table([
    ['', 'damaged', 'repaired'],
    ...fields.map((field) => [field, String(found[field]), String(clean[field])]),
  ]);
  const drift = fields.slice(0, -1);
  return drift.every((field) => found[field] === (expected[field] ?? 0) && clean[field] === 0);
}
