/**
 * Are publisher and projector at work? A graph that is behind tells; one that nothing changes for does not: a marker
 * makes no record, so nothing is ever behind. The slot knows who reads it, the group of the graph who is its member. One
 * that was killed counts as a member until its session in the group ends.
 */
import { AppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import type { KafkaClient } from '../kafka/client.ts';
import { countGroupMembers } from '../kafka/group-members.ts';
import type { Graph } from '../neo4j/client.ts';
import { consumerGroup, graphUuid, homeOf } from '../neo4j/graph-id.ts';
import { requireSlot, until, type WaitSources } from './wait.ts';

export interface AtWorkSources {
  readonly waiting: Pick<WaitSources, 'mapping' | 'sql' | 'recorded'>;
  readonly client: KafkaClient;
  readonly graph: Graph;
}

/** One that starts, or begins another session, is there by then. */
const GRACE_MS = 15_000;

/** Throws STREAM_STOPPED, naming which is not at work, or SOURCE_CHANGED if the slot is gone. */
export async function requireAtWork(
  { waiting, client, graph }: AtWorkSources,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const { mapping } = waiting;
  await until(performance.now() + Math.min(timeoutMs, GRACE_MS), signal, async () => {
    const { activePid } = await requireSlot(waiting, signal);
    const projecting = await projectorAtWork({ mapping, client, graph });
    const stopped = [
      ...(activePid === null ? ['no publisher is running'] : []),
      ...(projecting ? [] : ['no projector is running']),
    ];
    if (stopped.length === 0) return null;
    return new AppError('STREAM_STOPPED', `The stream is not at work: ${stopped.join(', and ')}.`);
  });
}

/** Of this graph, wherever it runs. */
export async function projectorAtWork({
  mapping,
  client,
  graph,
}: Pick<AtWorkSources, 'client' | 'graph'> & { readonly mapping: Mapping }): Promise<boolean> {
  const uuid = await graphUuid(graph, mapping);
  if (uuid === null) return false;
  const group = consumerGroup(mapping.sink.consumerGroupPrefix, { uuid, ...(await homeOf(graph)) });
  return (await countGroupMembers(client, group)) > 0;
}
