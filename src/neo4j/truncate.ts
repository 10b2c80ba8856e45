/**
 * A truncate, in transactions of bounded size, each behind the fence of the partition:
 *
 *     raise the table's floor ─▶ pages in key order: delete what is older ─▶ progress
 *
 * Guarantee: once the floor is raised, no upsert older than the truncate is applied again, in any partition. The record
 * stands in every partition, and each looks at the whole table: what another one was writing below the new floor when
 * it was raised, that one finds itself.
 * On failure it begins again: the floor stays, pages already emptied are empty.
 */
import type { Fence, Step } from './fence.ts';
import type { TableStatements } from './statements.ts';
import { type Ends, type Key, sweep } from './sweep.ts';

const PAGE = 5_000n;

const RAISE = `MATCH (f:_Floor {id: $floor})
REMOVE f._lock
WITH f WHERE f[$now.position] < $position
SET f.position = $position`;

export async function truncateTable(fence: Fence, step: Step, table: TableStatements): Promise<void> {
  const { position } = step;
  const standing = { ...step, next: step.from };
  const parameters = { ...table.parameters, position, limit: PAGE };

  async function emptyPage(statement: string, after: Key | null): Promise<Key | null> {
    return fence(standing, async (open) => {
      const { records } = await open.run(statement, { ...parameters, after });
      const page = records[0]?.toObject() as { last: Key | null; left?: Ends[] } | undefined;
      if (table.kind === 'relationship') await sweep(open, table, page?.left ?? []);
      return page?.last ?? null;
    });
  }

  await fence(standing, (open) => open.run(RAISE, parameters));
  for (const { first, next } of table.truncate) {
    for (let after = await emptyPage(first, null); after !== null;) after = await emptyPage(next, after);
  }
  await fence(step, () => Promise.resolve());
}
