/**
 * What is no longer as it was recorded, in source, topics and graph (I6): all of it at once, so that an operator can
 * judge. Reads only.
 */
import { nextGeneration } from '../../core/position.ts';
import type { Mapping } from '../../core/mapping.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import { type ControlState, NO_CONTROL, readControlIfAny, unfinishedRecovery } from '../../kafka/control.ts';
import type { PartitionRange } from '../../kafka/offsets.ts';
import { changedTopics, generationsOf, topicIds } from '../../kafka/topic-ids.ts';
import { partitionRanges, withAdmin } from '../../kafka/topics.ts';
import type { Graph } from '../../neo4j/client.ts';
import { readProgress } from '../../neo4j/progress.ts';
import { readRebuild } from '../../neo4j/rebuild-mark.ts';
import type { Sql } from '../../postgres/client.ts';
import { inspectSlot, publicationExists, type SlotInfo } from '../../postgres/slot.ts';
import type { SourceInfo } from '../../postgres/source.ts';
import { misfits } from '../fit.ts';
import { judgeSource } from '../publish/judge-source.ts';
import { requireSameSource, nameOfSource } from '../same-source.ts';

export interface Gap {
  /** For people, a sentence each; none: there is no gap. */
  readonly reasons: readonly string[];
  /** Topics that earlier sessions wrote and that are not there any more, or are others. */
  readonly lostTopics: readonly string[];
  readonly ranges: readonly PartitionRange[];
  readonly source: SourceInfo;
  /** Others that the graph may still hold the data of: the recorded one, and those before it of a recovery that goes on. */
  readonly previousSources: readonly string[];
  readonly slot: SlotInfo | null;
  readonly control: ControlState;
  /** A rebuild has begun to empty the graph. */
  readonly emptying: boolean;
  /** Above all that control topic or graph know of. */
  readonly next: { readonly epoch: number; readonly session: number };
}

/** Throws GRAPH_FOREIGN: what an unrelated graph has says nothing of this source. */
export async function findGap(
  {
    mapping,
    sql,
    databaseUrl,
    client,
    graph,
  }: { mapping: Mapping; sql: Sql; databaseUrl: string; client: KafkaClient; graph: Graph },
  signal: AbortSignal,
): Promise<Gap> {
  const names = mapping.tables.map(({ topic }) => topic);
  // Of what a publisher at work moves, whatever must not be ahead of the other is looked at first.
  const slot = await inspectSlot(sql, mapping.source.slot, signal);
  const progress = await readProgress(graph, mapping);
  const control = (await readControlIfAny(client, mapping.controlTopic, signal)) ?? NO_CONTROL;
  const written = [...names, mapping.deadLetterTopic];
  const ids = await topicIds(client, written);
  const present = names.filter((topic) => ids.has(topic));
  const { source, decision } = await judgeSource(
    { sql, databaseUrl, client },
    control.source,
    slot,
    present,
    signal,
  );
  const previousSources = sourcesBefore(source, control);
  await requireSameSource(graph, mapping, source, { claim: false, replaced: previousSources });
  const published = await publicationExists(sql, mapping.source.publication);
  const ranges = await withAdmin(client, (admin) => partitionRanges(admin, present));
  const generations = generationsOf(control.topics, written);
  const { gone, remade } = changedTopics(generations, ids);
  const lostTopics = [...gone, ...remade];
  const epochs = [
    control.source?.epoch ?? 0,
    control.recovery?.epoch ?? 0,
    ...progress.map(({ epoch }) => epoch),
  ];
  return {
    reasons: [
      ...(decision.kind === 'gap' ? [decision.reason] : []),
      ...(slot !== null && !published ? [`the publication ${mapping.source.publication} is missing`] : []),
      ...gone.map((topic) => `topic ${topic} no longer exists`),
      ...remade.map((topic) => `topic ${topic} was deleted and made again`),
      ...misfits(progress, { generations, ranges, recoveryEpoch: unfinishedRecovery(control)?.epoch ?? null })
        .filter(({ topic, passing }) => !passing && !lostTopics.includes(topic))
        .map(({ why }) => why),
    ],
    lostTopics,
    ranges,
    source,
    previousSources,
    slot,
    control,
    emptying: (await readRebuild(graph, mapping))?.state === 'emptying',
    next: {
      epoch: nextGeneration(Math.max(...epochs), Date.now()),
      session: nextGeneration(
        Math.max(control.session, ...progress.map(({ session }) => session)),
        Date.now(),
      ),
    },
  };
}

function sourcesBefore(source: SourceInfo, control: ControlState): readonly string[] {
  const replaced = unfinishedRecovery(control)?.previousSources ?? [];
  const recorded = control.source === null ? [] : [nameOfSource(control.source)];
  return [...new Set([...replaced, ...recorded])].filter((name) => name !== nameOfSource(source));
}
