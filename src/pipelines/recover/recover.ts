/**
 * `graph recover`: the source begins anew after a gap (I6).
 *
 *   drop the slot ─▶ record: a recovery of a higher epoch, nothing acknowledged, nothing loaded, lost topics forgotten
 *     ─▶ a graph that a rebuild has begun to empty is emptied to its end
 *     ─▶ the publisher's first start: topics, publication, slot, all tables ─▶ the projector adopts ─▶ all is compared
 *
 * Guarantee: from the first step on nothing counts as proved or loaded until all of it is; whatever ends a recovery,
 * the next one goes on or begins anew. A graph becomes that of another source only if it was that of the recorded one,
 * or of the one that the operator names.
 * What was deleted in the gap is found by the comparison alone. On failure: as `Sql` and `ControlWriter`.
 */
import type { Mapping } from '../../core/mapping.ts';
import { unmappedTables } from '../../core/source-identity.ts';
import { toTopicEnds } from '../../core/topic-ends.ts';
import { type ControlWriter, unfinishedRecovery } from '../../kafka/control.ts';
import type { Graph } from '../../neo4j/client.ts';
import { emptyGraph } from '../../neo4j/empty.ts';
import { markRebuild, readRebuild } from '../../neo4j/rebuild-mark.ts';
import type { Sql } from '../../postgres/client.ts';
import { dropSlot } from '../../postgres/slot.ts';
import type { SourceInfo } from '../../postgres/source.ts';
import { beginning } from '../publish/prepare.ts';
import { nameOfSource } from '../same-source.ts';
import type { Gap } from './gap.ts';

/** The slot must not be in use. Resolves, once all is durable, to the new epoch. */
export async function beginRecovery(
  { sql, mapping, control }: { sql: Sql; mapping: Mapping; control: ControlWriter },
  gap: Gap,
): Promise<number> {
  const { next, source, control: recorded, lostTopics } = gap;
  // Behind them all rows are published again, and nowhere else may a graph go on.
  const kept = gap.ranges.filter(({ topic }) => recorded.topics.has(topic) && !lostTopics.includes(topic));
  // Of these nothing is compared.
  const unmapped = unmappedTables(recorded.source?.published ?? {}, mapping.tables);
  // First: without it no publisher goes on from what it recorded.
  if (gap.slot !== null) await dropSlot(sql, mapping.source.slot);
  await control.write([
    {
      kind: 'recovery',
      epoch: next.epoch,
      after: unfinishedRecovery(recorded)?.after ?? recorded.source?.epoch,
      reasons: [...gap.reasons],
      previousSources: [...gap.previousSources],
      beganAt: new Date().toISOString(),
      finishedAt: null,
      ranges: gap.ranges.map(({ topic, partition, low, end }) => {
        return { topic, partition, low: low.toString(), end: end.toString() };
      }),
    },
    beginning(mapping, source, { ...next, published: unmapped, ends: toTopicEnds(kept) }),
  ]);
  // Last: until then they are a gap, whatever else is lost.
  await control.forgetTopics(lostTopics);
  return next.epoch;
}

/**
 * A rebuild that was ended while it emptied the graph cannot go on without a publisher, nor can a projector before it
 * does. What it has begun is brought to its end here: the recovery fills the graph, and proves it.
 */
export async function finishEmptying(
  graph: Graph,
  mapping: Mapping,
  source: SourceInfo,
  signal: AbortSignal,
): Promise<void> {
  if ((await readRebuild(graph, mapping))?.state !== 'emptying') return;
  await emptyGraph(graph, mapping, () => undefined, signal);
  await markRebuild(graph, mapping, 'building', { source: nameOfSource(source), republish: false });
}
