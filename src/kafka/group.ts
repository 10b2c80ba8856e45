/**
 * Membership of a consumer group: which partitions are ours, until the group changes. Only this is Kafka's; where a
 * partition goes on is kept with the graph (I8), so a member that has not noticed yet that it was replaced does no harm.
 */
import kafkajs, { type GroupMember as Member } from 'kafkajs';
import type { Broker, Cluster } from './cluster.ts';
import type { TopicPartition } from './wire.ts';

const { AssignerProtocol } = kafkajs;

const PROTOCOL = { name: 'graph-round-robin', version: 0, userData: Buffer.alloc(0) };
const GROUP_COORDINATOR = 0;
const NOT_JOINED = { memberId: '', generationId: -1 };

export interface GroupOptions {
  readonly groupId: string;
  readonly topics: readonly string[];
  /** A member is out after so long without a heartbeat. */
  readonly sessionTimeoutMs: number;
  /** How long the group waits for a member to finish what it does and join again. */
  readonly rebalanceTimeoutMs: number;
}

export class GroupMember {
  readonly #options: GroupOptions;
  #coordinator: Broker | null = null;
  /** Kept across connections: a member that came back under another name would be waited for under the old one. */
  #identity = NOT_JOINED;

  constructor(options: GroupOptions) {
    this.#options = options;
  }

  /** Waits for all members of the group. A member that is the leader shares the partitions out. */
  async join(cluster: Cluster): Promise<readonly TopicPartition[]> {
    this.#coordinator = await this.#findCoordinator(cluster);
    for (;;) {
      try {
        return await this.#joinOnce(cluster, this.#coordinator);
      } catch (error) {
        if (!this.#mustRejoin(error)) throw error;
      }
    }
  }

  /** `rejoin`: the group is changing, or has gone on without us. */
  async heartbeat(): Promise<'member' | 'rejoin'> {
    try {
      await this.#coordinator?.heartbeat(this.#member());
      return 'member';
    } catch (error) {
      if (this.#mustRejoin(error)) return 'rejoin';
      throw error;
    }
  }

  /** For Kafka's tools; nothing here ever reads it. */
  async commit(positions: readonly (TopicPartition & { readonly next: bigint })[]): Promise<void> {
    if (positions.length === 0) return;
    const topics = positions.map(({ topic, partition, next }) => {
      return { topic, partitions: [{ partition, offset: next.toString() }] };
    });
    try {
      await this.#coordinator?.offsetCommit({ ...this.#member(), topics });
    } catch (error) {
      if (!this.#mustRejoin(error)) throw error;
    }
  }

  /** So that the others need not wait for the session timeout. */
  async leave(): Promise<void> {
    const { memberId } = this.#identity;
    this.#identity = NOT_JOINED;
    if (memberId !== '') await this.#coordinator?.leaveGroup({ groupId: this.#options.groupId, memberId });
  }

  async #findCoordinator(cluster: Cluster): Promise<Broker> {
    const { groupId } = this.#options;
    const anyBroker = await cluster.findControllerBroker();
    const { coordinator } = await anyBroker.findGroupCoordinator({
      groupId,
      coordinatorType: GROUP_COORDINATOR,
    });
    return await cluster.findBroker({ nodeId: String(coordinator.nodeId) });
  }

  async #joinOnce(cluster: Cluster, coordinator: Broker): Promise<TopicPartition[]> {
    const { groupId, topics, sessionTimeoutMs, rebalanceTimeoutMs } = this.#options;
    const { version, userData } = PROTOCOL;
    const metadata = AssignerProtocol.MemberMetadata.encode({ version, userData, topics: [...topics] });
    const { memberId, generationId, leaderId, members } = await coordinator.joinGroup({
      groupId,
      memberId: this.#identity.memberId,
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: rebalanceTimeoutMs,
      groupProtocols: [{ name: PROTOCOL.name, metadata }],
    });
    this.#identity = { memberId, generationId };
    const groupAssignment = memberId === leaderId ? await shareOut(cluster, members, topics) : [];
    const { memberAssignment } = await coordinator.syncGroup({
      groupId,
      memberId,
      generationId,
      groupAssignment,
    });
    const decoded = AssignerProtocol.MemberAssignment.decode(memberAssignment)?.assignment ?? {};
    return Object.entries(decoded).flatMap(([topic, own]) => own.map((partition) => ({ topic, partition })));
  }

  #member(): { groupId: string; groupGenerationId: number; memberId: string } {
    const { memberId, generationId } = this.#identity;
    return { groupId: this.#options.groupId, groupGenerationId: generationId, memberId };
  }

  #mustRejoin(error: unknown): boolean {
    switch ((error as { type?: unknown }).type) {
      case 'UNKNOWN_MEMBER_ID':
        this.#identity = NOT_JOINED;
        return true;
      case 'REBALANCE_IN_PROGRESS':
      case 'ILLEGAL_GENERATION':
        return true;
      default:
        return false;
    }
  }
}

/** While members are replaced one by one, some may read topics that others, the leader too, do not. */
async function shareOut(
  cluster: Cluster,
  members: readonly Member[],
  ours: readonly string[],
): Promise<ReturnType<typeof encodeAssignment>> {
  const topicsOf = new Map(
    members.map(({ memberId, memberMetadata }) => {
      return [memberId, new Set(AssignerProtocol.MemberMetadata.decode(memberMetadata)?.topics)];
    }),
  );
  const topics = [...new Set([...topicsOf.values()].flatMap((own) => [...own]))];
  const others = topics.filter((topic) => !ours.includes(topic));
  if (others.length > 0) await cluster.addMultipleTargetTopics(others);
  const partitions = topics.flatMap((topic) =>
    cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => ({ topic, partition: partitionId })),
  );
  return encodeAssignment(assign(topicsOf, partitions));
}

/** In a fixed order, each to the one of its topic's members that has the fewest. */
export function assign(
  topicsOf: ReadonlyMap<string, ReadonlySet<string>>,
  partitions: readonly TopicPartition[],
): Map<string, TopicPartition[]> {
  const shares = new Map([...topicsOf.keys()].sort().map((memberId) => [memberId, [] as TopicPartition[]]));
  const ordered = [...partitions].sort((a, b) =>
    a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1,
  );
  for (const partition of ordered) {
    const readers = [...shares].filter(([memberId]) => topicsOf.get(memberId)?.has(partition.topic));
    const [, fewest] = readers.reduce((a, b) => (b[1].length < a[1].length ? b : a));
    fewest.push(partition);
  }
  return shares;
}

function encodeAssignment(
  shares: Map<string, TopicPartition[]>,
): { readonly memberId: string; readonly memberAssignment: Buffer }[] {
  const { version, userData } = PROTOCOL;
  return [...shares].map(([memberId, partitions]) => {
    const assignment: Record<string, number[]> = {};
    for (const { topic, partition } of partitions) (assignment[topic] ??= []).push(partition);
    return {
      memberId,
      memberAssignment: AssignerProtocol.MemberAssignment.encode({ version, userData, assignment }),
    };
  });
}
