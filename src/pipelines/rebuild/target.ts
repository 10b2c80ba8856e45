/** What stands in the graph that is to be filled, and how it is emptied. */
import { AppError } from '../../core/errors.ts';
import type { Mapping } from '../../core/mapping.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import { countGroupMembers } from '../../kafka/group-members.ts';
import type { Graph } from '../../neo4j/client.ts';
import { emptyGraph, type GraphSize, graphSize } from '../../neo4j/empty.ts';
import { consumerGroup, graphIdentity } from '../../neo4j/graph-id.ts';
import { readProgress } from '../../neo4j/progress.ts';
import { mappingDigest, markRebuild, readRebuild, type RebuildMark } from '../../neo4j/rebuild-mark.ts';
import { nameOfSource, requireSameSource, type Source } from '../same-source.ts';

export interface Target {
  readonly graph: Graph;
  readonly mapping: Mapping;
  readonly inPlace: boolean;
  readonly forceEmpty: boolean;
}

export interface TargetState {
  /**
   *   build     it is empty: nothing is removed
   *   go on     it holds the beginning of a rebuild
   *   empty     it is to be emptied first
   */
  readonly next: 'build' | 'go on' | 'empty';
  readonly begun: RebuildMark | null;
  readonly size: GraphSize;
}

/** `generations`: of the topics as they are. Throws TARGET_NOT_EMPTY or GRAPH_FOREIGN. Nothing is written. */
export async function inspectTarget(
  { graph, mapping, inPlace, forceEmpty }: Target,
  source: Source,
  generations: ReadonlyMap<string, string>,
): Promise<TargetState> {
  const begun = await readRebuild(graph, mapping);
  const size = await graphSize(graph, mapping);
  if (forceEmpty) return { next: 'empty', begun, size };
  await requireSameSource(graph, mapping, source, { claim: false });
  if (begun !== null && begun.mapping !== mappingDigest(mapping))
    throw new AppError(
      'TARGET_NOT_EMPTY',
      'The graph holds the beginning of a rebuild by other connector files.',
    );
  if (begun?.state === 'emptying') return { next: 'empty', begun, size };
  if (begun !== null) {
    const remade = (await readProgress(graph, mapping))
      .filter(({ topic, generation }) => generations.get(topic) !== generation)
      .map(({ topic }) => topic);
    if (remade.length === 0) return { next: 'go on', begun, size };
    throw new AppError(
      'TARGET_NOT_EMPTY',
      `The graph holds the beginning of a rebuild from topics that were made again since: ${[...new Set(remade)].join(', ')}.`,
    );
  }
  if (inPlace) return { next: 'empty', begun, size };
  if (size.nodes === 0) return { next: 'build', begun, size };
  throw new AppError(
    'TARGET_NOT_EMPTY',
    `The graph to be filled holds ${size.nodes} nodes and ${size.relationships} relationships, ` +
      `${size.own} of the nodes by the labels of this mapping.`,
  );
}

/** Throws GRAPH_IN_USE while a projector of the graph is at work. */
export async function requireUnused(client: KafkaClient, { graph, mapping }: Target): Promise<void> {
  const group = consumerGroup(mapping.sink.consumerGroupPrefix, await graphIdentity(graph, mapping));
  const members = await countGroupMembers(client, group);
  if (members > 0)
    throw new AppError(
      'GRAPH_IN_USE',
      `${members} projectors of the graph are at work (consumer group ${group}).`,
    );
}

export interface Readying {
  readonly source: Source;
  /** Every row is to be published again: the graph remembers it until that is asked for. */
  readonly republish: boolean;
  readonly onRemoved: (total: number) => void;
}

/** Marked as being emptied before the first thing goes, and as being built once the last has gone. */
export async function makeReady(
  { graph, mapping }: Target,
  { next }: TargetState,
  { source, republish, onRemoved }: Readying,
  signal: AbortSignal,
): Promise<void> {
  const of = { source: nameOfSource(source), republish };
  if (next === 'empty') {
    await markRebuild(graph, mapping, 'emptying', of);
    await emptyGraph(graph, mapping, onRemoved, signal);
  }
  await markRebuild(graph, mapping, 'building', of);
}
