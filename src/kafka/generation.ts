/**
 * The partitions that a member of the group has, from the moment it has joined until the group changes: taken over,
 * fetched into their lanes by one loop per leading broker, worked on by the caller's loops, given up.
 *
 * Guarantee: when `run` returns or throws, every loop has ended and nothing is fetched any more. On failure: an error of
 * Kafka's ends all lanes and is thrown; the first error of a handler does so too, and is returned.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../core/errors.ts';
import { allOf } from '../runtime/all-of.ts';
import type { Log } from '../runtime/log.ts';
import type { Connection } from './client.ts';
import { Gate } from './gate.ts';
import type { GroupMember } from './group.ts';
import { Lane, type LaneLimits, type RecordBatch } from './lane.ts';
import { offsetRanges, type PartitionRange } from './offsets.ts';
import { decodeBatches } from './record-batch.ts';
import {
  fetchRequest,
  type FetchResult,
  NONE,
  OFFSET_OUT_OF_RANGE,
  protocolError,
  type TopicPartition,
} from './wire.ts';

export interface PartitionLane extends AsyncIterable<RecordBatch>, TopicPartition {
  /** For Kafka's tools: `next` of the last batch that was dealt with. Sent with the next heartbeat. */
  readonly commit: (next: bigint) => void;
}

export interface PartitionHandlers {
  /** Takes the partition over from whoever had it and answers the offset at which it goes on. */
  readonly onAssigned: (partition: TopicPartition, signal: AbortSignal) => Promise<bigint>;
  /** Pulls batches until the lane ends, which it does once `signal` is aborted: the partition is no longer ours. */
  readonly runPartition: (
    lane: PartitionLane,
    partition: TopicPartition,
    signal: AbortSignal,
  ) => Promise<void>;
}

export interface GenerationSettings {
  readonly heartbeatMs: number;
  readonly maxWaitMs: number;
  readonly maxBytesPerPartition: number;
  readonly lane: LaneLimits;
}

export interface GenerationContext {
  readonly connection: Connection;
  readonly member: GroupMember;
  readonly settings: GenerationSettings;
  readonly handlers: PartitionHandlers;
  readonly log: Log;
}

/** What a handler threw. */
export interface HandlerFailure {
  readonly error: unknown;
}

const MAX_FETCH_BYTES = 16 * 1024 * 1024;

export class Generation {
  readonly #context: GenerationContext;
  readonly #revocation = new AbortController();
  readonly #drained = new AbortController();
  /** Told to stop, or revoked. */
  readonly #ended: AbortSignal;
  readonly #lanes = new Map<string, Lane>();
  /** Opens when a lane has room again, and at the end. */
  readonly #room = new Gate();
  #failure: HandlerFailure | null = null;

  constructor(context: GenerationContext, stop: AbortSignal) {
    this.#context = context;
    this.#ended = AbortSignal.any([stop, this.#revocation.signal]);
    const end = (): void => {
      for (const lane of this.#lanes.values()) lane.end();
      this.#room.open();
    };
    this.#ended.addEventListener('abort', end, { once: true });
  }

  async run(assigned: readonly TopicPartition[]): Promise<HandlerFailure | null> {
    const working = this.#endIfFails(this.#work(assigned));
    const beating = this.#endIfFails(this.#beat());
    const both = Promise.allSettled([working, beating]);
    await Promise.allSettled([working]);
    this.#drained.abort();
    await both;
    if (this.#failure === null) await Promise.all([working, beating]);
    return this.#failure;
  }

  async #work(assigned: readonly TopicPartition[]): Promise<void> {
    const positions = await allOf(assigned.map((partition) => this.#takeOver(partition)));
    if (!this.#ended.aborted) {
      const lanes = positions.map(({ next, ...partition }) => this.#openLane(partition, next));
      const fetching = [...this.#byLeader(lanes)].map(([nodeId, own]) =>
        this.#endIfFails(this.#fetch(nodeId, own)),
      );
      await allOf([...fetching, ...lanes.map((lane) => this.#runLane(lane))]);
    }
    while (!this.#ended.aborted) await this.#room.wait();
  }

  async #takeOver(partition: TopicPartition): Promise<TopicPartition & { readonly next: bigint }> {
    let next = 0n;
    try {
      next = await this.#context.handlers.onAssigned(partition, this.#ended);
    } catch (error) {
      this.#fail(error);
    }
    return { ...partition, next };
  }

  #openLane(partition: TopicPartition, next: bigint): Lane {
    const lane = new Lane(partition, next, this.#context.settings.lane, () => {
      this.#room.open();
    });
    this.#lanes.set(nameOf(partition), lane);
    return lane;
  }

  async #runLane(lane: Lane): Promise<void> {
    try {
      await this.#context.handlers.runPartition(lane, lane, this.#ended);
      if (!this.#ended.aborted) throw new Error(`the loop of ${nameOf(lane)} ended, though its lane did not`);
    } catch (error) {
      this.#fail(error);
    }
  }

  #byLeader(lanes: readonly Lane[]): Map<string, Lane[]> {
    const { cluster } = this.#context.connection;
    const leaders = new Map<string, Lane[]>();
    for (const lane of lanes) {
      const [nodeId = ''] = Object.keys(cluster.findLeaderForPartitions(lane.topic, [lane.partition]));
      const own = leaders.get(nodeId);
      if (own === undefined) leaders.set(nodeId, [lane]);
      else own.push(lane);
    }
    return leaders;
  }

  /** Asks for all lanes that have room at once; whichever comes first in a request may fill the answer, so they take turns. */
  async #fetch(nodeId: string, lanes: readonly Lane[]): Promise<void> {
    const { connection, settings } = this.#context;
    const broker = await connection.cluster.findBroker({ nodeId });
    const limits = { maxWaitMs: settings.maxWaitMs, maxBytes: MAX_FETCH_BYTES };
    for (let turn = 0; !this.#ended.aborted; turn++) {
      const open = [...lanes.slice(turn % lanes.length), ...lanes.slice(0, turn % lanes.length)].filter(
        (l) => l.hasRoom,
      );
      if (open.length === 0) {
        await this.#room.wait();
        continue;
      }
      const wanted = open.map(({ topic, partition, fetchOffset }) => {
        return { topic, partition, offset: fetchOffset, maxBytes: settings.maxBytesPerPartition };
      });
      const answer = broker.connectionPool.send(fetchRequest(wanted, limits));
      const { results } = await connection.promptly(answer, this.#ended);
      for (const result of results) await this.#deliver(result);
    }
  }

  async #deliver({ topic, partition, errorCode, batches }: FetchResult): Promise<void> {
    const lane = this.#lanes.get(nameOf({ topic, partition }));
    if (lane === undefined) return;
    if (errorCode === NONE) lane.push(decodeBatches(batches, lane.fetchOffset));
    else if (errorCode !== OFFSET_OUT_OF_RANGE) throw protocolError(errorCode);
    else this.#fail(gap(lane, await offsetRanges(this.#context.connection.cluster, [topic])));
  }

  /** Goes on until all loops have ended: the group waits for members that heartbeat, and they may need a moment. */
  async #beat(): Promise<void> {
    const { connection, member, settings } = this.#context;
    const { signal } = this.#drained;
    while (!signal.aborted) {
      await delay(settings.heartbeatMs, undefined, { signal }).catch(() => undefined);
      const positions = [...this.#lanes.values()].flatMap((lane) => lane.takeCommit());
      await connection.promptly(member.commit(positions), signal);
      const state = await connection.promptly(member.heartbeat(), signal);
      if (state === 'rejoin') this.#revocation.abort();
    }
  }

  #fail(error: unknown): void {
    if (this.#ended.aborted) {
      this.#context.log.debug({ error }, 'a partition that was given up ended with an error');
      return;
    }
    this.#failure = { error };
    this.#revocation.abort();
  }

  async #endIfFails(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.#revocation.abort();
      throw error;
    }
  }
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}-${partition}`;
}

function gap({ topic, partition, fetchOffset: next }: Lane, ranges: readonly PartitionRange[]): AppError {
  const { low = 0n, end = 0n } = ranges.find((range) => range.partition === partition) ?? {};
  return new AppError(
    'PROGRESS_GAP',
    `The graph goes on at offset ${next} of ${nameOf({ topic, partition })}, but the topic holds ${low} up to ${end}.`,
    { context: { topic, partition, next, low, end } },
  );
}
