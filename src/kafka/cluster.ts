/** The parts of kafkajs's inner Cluster and Broker that we use: kafkajs 2.2.4 ships no types for them. */
import type { GroupMember, GroupMemberAssignment, KafkaConfig, Logger } from 'kafkajs';

export interface ClusterOptions extends Omit<KafkaConfig, 'brokers' | 'logLevel' | 'logCreator'> {
  readonly brokers: string[];
  readonly logger: Logger;
  readonly metadataMaxAge: number;
  readonly allowAutoTopicCreation: boolean;
}

export interface PartitionOffset {
  readonly partition: number;
  readonly offset: string;
}

export interface Cluster {
  connect: () => Promise<void>;
  disconnect: () => Promise<void>;
  addMultipleTargetTopics: (topics: readonly string[]) => Promise<void>;
  refreshMetadata: () => Promise<void>;
  findTopicPartitionMetadata: (topic: string) => readonly { readonly partitionId: number }[];
  /** Partitions by the node that leads them. */
  findLeaderForPartitions: (topic: string, partitions: readonly number[]) => Record<string, number[]>;
  /** Connects to the node if need be. */
  findBroker: (node: { readonly nodeId: string }) => Promise<Broker>;
  findControllerBroker: () => Promise<Broker>;
  /** The log start (`fromBeginning`) or the high watermark of each partition. */
  fetchTopicsOffset: (
    topics: readonly {
      readonly topic: string;
      readonly partitions: readonly { readonly partition: number }[];
      readonly fromBeginning: boolean;
    }[],
  ) => Promise<{ readonly topic: string; readonly partitions: readonly PartitionOffset[] }[]>;
}

export interface Broker {
  readonly connectionPool: { send: <T>(request: WireRequest<T>) => Promise<T> };
  initProducerId: (options: { readonly transactionTimeout: number }) => Promise<{
    readonly producerId: string;
    readonly producerEpoch: number;
  }>;
  findGroupCoordinator: (request: {
    readonly groupId: string;
    readonly coordinatorType: number;
  }) => Promise<{ readonly coordinator: { readonly nodeId: number } }>;
  joinGroup: (request: {
    readonly groupId: string;
    readonly memberId: string;
    readonly sessionTimeout: number;
    readonly rebalanceTimeout: number;
    readonly groupProtocols: readonly { readonly name: string; readonly metadata: Buffer }[];
  }) => Promise<{
    readonly generationId: number;
    readonly memberId: string;
    readonly leaderId: string;
    /** Empty unless this member is the leader. */
    readonly members: readonly GroupMember[];
  }>;
  syncGroup: (request: {
    readonly groupId: string;
    readonly generationId: number;
    readonly memberId: string;
    readonly groupAssignment: readonly GroupMemberAssignment[];
  }) => Promise<{ readonly memberAssignment: Buffer }>;
  heartbeat: (request: MemberOfGeneration) => Promise<unknown>;
  leaveGroup: (request: { readonly groupId: string; readonly memberId: string }) => Promise<unknown>;
  offsetCommit: (
    request: MemberOfGeneration & {
      readonly topics: readonly { readonly topic: string; readonly partitions: readonly PartitionOffset[] }[];
    },
  ) => Promise<unknown>;
}

interface MemberOfGeneration {
  readonly groupId: string;
  readonly groupGenerationId: number;
  readonly memberId: string;
}

/** What kafkajs's connection takes: it adds the request header, finds the response and decodes it with `response`. */
export interface WireRequest<T> {
  readonly request: {
    readonly apiKey: number;
    readonly apiVersion: number;
    readonly apiName: string;
    readonly encode: () => Promise<{ readonly buf: Buffer; readonly buffer: Buffer }>;
  };
  readonly response: {
    readonly decode: (payload: Buffer) => Promise<T>;
    readonly parse: (decoded: T) => Promise<T>;
  };
}
