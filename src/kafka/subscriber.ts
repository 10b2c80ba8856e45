/**
 * Topics, partition by partition, each at its own pace:
 *
 *     join the group ─▶ take over our partitions (the caller says where each goes on) ─▶ fetch into a lane per partition
 *          ▲                                                          └─▶ the caller's loop pulls batches from its lane
 *          └── the group changes: end the lanes, wait for the loops ◀──┘
 *
 * Guarantee: a lane's batches are continuous from the offset that `onAssigned` gave; nothing is skipped, whatever
 * compaction has left. An offset that the topic does not have (any more) is PROGRESS_GAP, never a silent reset. A slow
 * partition holds up no other, and memory is bounded: `queueBytes` and one fetch per partition.
 *
 * On failure: while Kafka is away, or its partitions move, the lanes end, and all starts over with a new connection, for as
 * long as it takes. The first error of a handler ends the subscription with that error; what handlers throw after their
 * signal was aborted is not one, since whoever takes the partition over next finds where it stands.
 */
import { AppError } from '../core/errors.ts';
import type { Log } from '../runtime/log.ts';
import { keepRunning } from '../runtime/retry.ts';
import type { KafkaClient } from './client.ts';
import { wrapKafka } from './errors.ts';
import { Generation, type HandlerFailure, type PartitionHandlers } from './generation.ts';
import { GroupMember } from './group.ts';

export type { PartitionHandlers, PartitionLane } from './generation.ts';
export type { RecordBatch } from './lane.ts';
export type { IncomingRecord } from './record-batch.ts';
export type { TopicPartition } from './wire.ts';

export interface SubscriberOptions {
  readonly groupId: string;
  readonly topics: readonly string[];
  readonly sessionTimeoutMs?: number;
  readonly rebalanceTimeoutMs?: number;
  readonly heartbeatMs?: number;
  /** How long the broker holds an empty fetch; what arrives is answered at once. */
  readonly maxWaitMs?: number;
  readonly maxBytesPerPartition?: number;
  readonly queueBytesPerPartition?: number;
  readonly maxRecordsPerBatch?: number;
  readonly maxBytesPerBatch?: number;
}

const DEFAULTS = {
  sessionTimeoutMs: 10_000,
  rebalanceTimeoutMs: 30_000,
  heartbeatMs: 1_000,
  maxWaitMs: 100,
  maxBytesPerPartition: 4 * 1024 * 1024,
  queueBytesPerPartition: 8 * 1024 * 1024,
  maxRecordsPerBatch: 2_000,
  maxBytesPerBatch: 4 * 1024 * 1024,
};

/** Resolves once `signal` is aborted and all loops have ended; rejects with the first error of a handler. */
export async function subscribe(
  kafka: KafkaClient,
  options: SubscriberOptions,
  handlers: PartitionHandlers,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const { groupId, topics, ...settings } = { ...DEFAULTS, ...options };
  const lane = {
    queueBytes: settings.queueBytesPerPartition,
    maxRecords: settings.maxRecordsPerBatch,
    maxBytes: settings.maxBytesPerBatch,
  };
  const member = new GroupMember({ groupId, topics, ...settings });
  const outcome: { failure: HandlerFailure | null } = { failure: null };

  async function session(): Promise<void> {
    const connection = await kafka.connect({ topics }).catch((error: unknown) => {
      throw wrapKafka(error, 'read from Kafka', { groupId });
    });
    const context = { connection, member, settings: { ...settings, lane }, handlers, log };
    try {
      while (!signal.aborted && outcome.failure === null) {
        const assigned = await connection.promptly(member.join(connection.cluster), signal);
        log.info(
          { groupId, partitions: assigned.map((p) => `${p.topic}-${p.partition}`) },
          'partitions assigned',
        );
        outcome.failure = await new Generation(context, signal).run(assigned);
      }
      // If it cannot be told now, the group finds out by the session timeout.
      await connection.promptly(member.leave(), signal).catch(() => undefined);
    } catch (error) {
      throw passing(wrapKafka(error, 'read from Kafka', { groupId }));
    } finally {
      await connection.close();
    }
  }

  await keepRunning(session, {
    signal,
    onRetry: (error, attempt) => {
      log[attempt === 1 ? 'warn' : 'debug']({ groupId, error }, 'Kafka cannot be read for now; trying again');
    },
  });
  if (outcome.failure !== null) throw outcome.failure.error;
}

/** A broker that is losing or getting a partition may not know it; whether the topic is gone, the next connection tells. */
function passing(error: AppError): AppError {
  if (error.code !== 'KAFKA_TOPIC') return error;
  return new AppError('KAFKA_UNREACHABLE', error.message, { cause: error, context: error.context });
}
