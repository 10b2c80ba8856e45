/** What is fetched of one partition, without a group: see `Generation` for many at once. */
import type { Cluster } from './cluster.ts';
import { fetchRequest, type FetchResult, type TopicPartition } from './wire.ts';

/** undefined: the leader does not speak of it. The topic must be among those that the connection was made for. */
export async function fetchPartition(
  cluster: Cluster,
  { topic, partition }: TopicPartition,
  offset: bigint,
  limits: { readonly maxWaitMs: number; readonly maxBytes: number },
): Promise<FetchResult | undefined> {
  const [nodeId = ''] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
  const broker = await cluster.findBroker({ nodeId });
  const request = fetchRequest([{ topic, partition, offset, maxBytes: limits.maxBytes }], limits);
  const { results } = await broker.connectionPool.send(request);
  return results[0];
}
