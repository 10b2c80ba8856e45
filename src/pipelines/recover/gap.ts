/**
 * What is no longer as it was recorded, in source, topics and graph (I6): all of it at once, so that an operator can
 * judge. Reads only.
 */
import { nextGeneration } from '../../core/position.ts';
import { lostEnds } from '../../core/topic-ends.ts';
import type { Mapping } from '../../core/mapping.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import { type ControlState, NO_CONTROL, readControlIfAny } from '../../kafka/control.ts';
import type { PartitionRange } from '../../kafka/offsets.ts';
import { changedTopics, generationsOf, topicIds } from '../../kafka/topic-ids.ts';
import { partitionRanges, withAdmin } from '../../kafka/topics.ts';
import type { Graph } from '../../neo4j/client.ts';
import { sourceOfGraph } from '../../neo4j/graph-id.ts';
import { type PartitionProgress, readProgress } from '../../neo4j/progress.ts';
import { readRebuild } from '../../neo4j/rebuild-mark.ts';
import type { Sql } from '../../postgres/client.ts';
import { publicationExists } from '../../postgres/publication.ts';
import { inspectSlot, type SlotInfo } from '../../postgres/slot.ts';
import { requirePrimary, type SourceInfo } from '../../postgres/source.ts';
import { misfits } from '../fit.ts';
import { judgeSource } from '../publish/judge-source.ts';
import { decideReplaced, type Replaced } from './replaced.ts';

export interface Gap extends Replaced {
  /** For people, a sentence each; none: there is no gap. */
  readonly reasons: readonly string[];
  /** Topics that earlier sessions wrote and that are not there any more, or are others. */
  readonly lostTopics: readonly string[];
  readonly ranges: readonly PartitionRange[];
  readonly source: SourceInfo;
  readonly slot: SlotInfo | null;
  readonly control: ControlState;
  /** A rebuild has begun to empty the graph. */
  readonly emptying: boolean;
  /** Above all that control topic or graph know of. */
  readonly next: { readonly epoch: number; readonly session: number };
}

/**
 * `replaces`: the source in whose place this one is, if an operator says so. Throws GRAPH_FOREIGN: what an unrelated
 * graph has says nothing of this source; POSTGRES_FAILED of a standby, whose slot is not the one recorded; USAGE if the
 * graph is not that source's.
 */
export async function findGap(
  {
    mapping,
    sql,
    databaseUrl,
    client,
    graph,
    replaces,
  }: {
    mapping: Mapping;
    sql: Sql;
    databaseUrl: string;
    client: KafkaClient;
    graph: Graph;
    replaces: string | null;
  },
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
    { mapping, sql, databaseUrl, client },
    control.source,
    slot,
    present,
    signal,
  );
  requirePrimary(source);
  const found = await sourceOfGraph(graph, mapping);
  const replaced = decideReplaced({ found, source, control, named: replaces });
  const published = await publicationExists(sql, mapping.source.publication);
  const ends = await withAdmin(client, (admin) => partitionRanges(admin, [...ids.keys()]));
  const ranges = ends.filter(({ topic }) => topic !== mapping.deadLetterTopic);
  const generations = generationsOf(control.topics, written);
  const { gone, remade } = changedTopics(generations, ids);
  const lostTopics = [...gone, ...remade];
  const same = ends.filter(({ topic }) => generations.has(topic) && !lostTopics.includes(topic));
  const epochs = [
    control.source?.epoch ?? 0,
    control.recovery?.epoch ?? 0,
    ...progress.map(({ epoch }) => epoch),
  ];
  return {
    ...replaced,
    reasons: [
      ...(decision.kind === 'gap' ? [decision.reason] : []),
      ...(replaced.byWordAlone ? [`the graph holds the data of another source, ${replaced.held}`] : []),
      ...(slot !== null && !published && decision.kind !== 'gap'
        ? [`the publication ${mapping.source.publication} is missing`]
        : []),
      ...gone.map((topic) => `topic ${topic} no longer exists`),
      ...remade.map((topic) => `topic ${topic} was deleted and made again`),
      ...laterEpochs(progress, control),
      ...lostEnds(control.source?.ends ?? {}, same).filter(
        (reason) => control.source?.gap?.includes(reason) !== true,
      ),
      ...misfits(progress, { generations, ranges, recovery: control.recovery })
        .filter(({ topic, passing }) => !passing && !lostTopics.includes(topic))
        .map(({ why }) => why),
    ],
    lostTopics,
    ranges,
    source,
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

/** What was put back to before a recovery knows nothing of its epoch, which is recorded before its first record. */
function laterEpochs(progress: readonly PartitionProgress[], { source }: ControlState): string[] {
  const held = Math.max(0, ...progress.map(({ epoch }) => epoch));
  if (source === null || held <= source.epoch) return [];
  return [`the graph holds changes of epoch ${held}, and the source is recorded in epoch ${source.epoch}`];
}
