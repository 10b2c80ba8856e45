/** From a request to the stretches of partitions that a replay passes over, as topics and graph are now. */
import { AppError } from '../../core/errors.ts';
import type { Mapping } from '../../core/mapping.ts';
import { type ReplayRequest, startsOf, type Stretch, stretchesOf } from '../../core/replay.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import { readControl } from '../../kafka/control.ts';
import { requireRecordedTopics } from '../../kafka/topic-ids.ts';
import { offsetsSince, partitionRanges, withAdmin } from '../../kafka/topics.ts';
import type { Graph } from '../../neo4j/client.ts';
import { readProgress } from '../../neo4j/progress.ts';
import { requireSameSource } from '../same-source.ts';

/**
 * Throws USAGE for what the topics do not have, GRAPH_FOREIGN, KAFKA_TOPIC_CHANGED, STREAM_STOPPED if the graph has no
 * progress of a topic, and PROGRESS_GAP if it has that of another one of the same name.
 */
export async function stretchesNow(
  {
    mapping,
    client,
    graph,
  }: { readonly mapping: Mapping; readonly client: KafkaClient; readonly graph: Graph },
  request: ReplayRequest,
  signal: AbortSignal,
): Promise<(Stretch & { readonly generation: string })[]> {
  const { source, topics } = await readControl(client, mapping.controlTopic, signal);
  if (source !== null) await requireSameSource(graph, mapping, source, { claim: false });
  const names = request.tables.map(({ topic }) => topic);
  const generations = await requireRecordedTopics(client, topics, names);
  // Before the topics' ends, so that it cannot be beyond them.
  const progress = await readProgress(graph, mapping);
  const { from } = request;
  const [held, published] = await withAdmin(client, async (admin) => [
    await partitionRanges(admin, names),
    from.kind === 'published' ? await offsetsSince(admin, names, from.sinceMs) : [],
  ]);

  function reached(topic: string, partition: number): { readonly next: bigint; readonly generation: string } {
    const row = progress.find((one) => one.topic === topic && one.partition === partition);
    if (row === undefined)
      throw new AppError('STREAM_STOPPED', `No projector has taken up ${topic}-${partition} yet.`);
    if (row.generation !== generations.get(topic))
      throw new AppError(
        'PROGRESS_GAP',
        `Topic ${topic} was recreated: the graph knows another generation of it.`,
      );
    const end = held.find((one) => one.topic === topic && one.partition === partition)?.end ?? 0n;
    if (end < row.next)
      throw new AppError(
        'PROGRESS_GAP',
        `The graph is at offset ${row.next} of ${topic}-${partition}, which ends at ${end}.`,
      );
    return row;
  }
  const starts = startsOf(request, held, published);
  return stretchesOf(starts, (topic, partition) => reached(topic, partition).next).map((stretch) => {
    return { ...stretch, generation: reached(stretch.topic, stretch.partition).generation };
  });
}
