/**
 * Stretches of partitions, each read once from its start to its end, without a consumer group: for a pass over what is in
 * a topic that leaves nothing behind in Kafka.
 *
 * Guarantee: batches are continuous from `start` to `end`, whatever compaction has left; a record beyond `end` is not
 * among them. On failure: an offset that the topic does not have any more is PROGRESS_GAP, the rest is Kafka's.
 */
import { AppError } from '../core/errors.ts';
import type { Stretch } from '../core/replay.ts';
import type { Connection, KafkaClient } from './client.ts';
import { wrapKafka } from './errors.ts';
import { fetchPartition } from './fetch-partition.ts';
import { bytesOf, type LaneLimits, type RecordBatch } from './lane.ts';
import { type DecodedBatches, decodeBatches, type IncomingRecord } from './record-batch.ts';
import { NONE, OFFSET_OUT_OF_RANGE, protocolError } from './wire.ts';

const FETCH = { maxWaitMs: 500, maxBytes: 4 * 1024 * 1024 };

export type BatchLimits = Pick<LaneLimits, 'maxRecords' | 'maxBytes'>;

export interface StretchReader {
  readonly read: (stretch: Stretch, limits: BatchLimits, signal: AbortSignal) => AsyncIterable<RecordBatch>;
  readonly close: () => Promise<void>;
}

/** Of these topics, on a connection of its own. */
export async function openStretchReader(
  kafka: KafkaClient,
  topics: readonly string[],
): Promise<StretchReader> {
  const what = `read ${topics.join(', ')}`;
  const connection = await kafka.connect({ topics }).catch((error: unknown) => {
    throw wrapKafka(error, what);
  });
  let before: Promise<unknown> = Promise.resolve();

  /** kafkajs opens a connection for each of the requests that find none, and forgets all but one of them. */
  function inTurn<T>(request: () => Promise<T>): Promise<T> {
    const answer = before.then(request);
    before = answer.catch(() => undefined);
    return answer;
  }

  async function* read(
    stretch: Stretch,
    limits: BatchLimits,
    signal: AbortSignal,
  ): AsyncGenerator<RecordBatch> {
    const { topic, partition, start, end } = stretch;
    for (let from = start; from < end;) {
      const at = from;
      const fetched = await inTurn(() => fetch(connection, stretch, at, signal));
      const { records, next } = upTo(end, fetched);
      for (const batch of batchesOf(records, next, limits)) {
        yield { topic, partition, from, ...batch };
        from = batch.next;
      }
    }
  }

  return { read, close: connection.close };
}

async function fetch(
  { cluster, promptly }: Connection,
  { topic, partition }: Stretch,
  offset: bigint,
  signal: AbortSignal,
): Promise<DecodedBatches> {
  signal.throwIfAborted();
  try {
    const result = await promptly(fetchPartition(cluster, { topic, partition }, offset, FETCH), signal);
    const { errorCode = NONE, batches = Buffer.alloc(0) } = result ?? {};
    if (errorCode === OFFSET_OUT_OF_RANGE) throw gone(topic, partition, offset);
    if (errorCode !== NONE) throw protocolError(errorCode);
    const fetched = decodeBatches(batches, offset);
    if (fetched.next > offset) return fetched;
    // Nothing, though the partition goes on: its leader has moved.
    throw new AppError('KAFKA_UNREACHABLE', `Topic ${topic} cannot be read from offset ${offset}.`);
  } catch (error) {
    throw wrapKafka(error, `read topic ${topic}`, { topic, partition });
  }
}

function upTo(end: bigint, { records, next }: DecodedBatches): DecodedBatches {
  if (next <= end) return { records, next };
  return { records: records.filter(({ offset }) => offset < end), next: end };
}

/** In pieces of at most `limits`, a single record excepted; the last one ends at `next`. At least one, if it is empty. */
function batchesOf(
  records: readonly IncomingRecord[],
  next: bigint,
  { maxRecords, maxBytes }: BatchLimits,
): Pick<RecordBatch, 'records' | 'next'>[] {
  const batches: Pick<RecordBatch, 'records' | 'next'>[] = [];
  let piece: IncomingRecord[] = [];
  let bytes = 0;
  for (const record of records) {
    const size = bytesOf(record);
    if (piece.length >= maxRecords || (piece.length > 0 && bytes + size > maxBytes)) {
      batches.push({ records: piece, next: record.offset });
      piece = [];
      bytes = 0;
    }
    piece.push(record);
    bytes += size;
  }
  return [...batches, { records: piece, next }];
}

function gone(topic: string, partition: number, offset: bigint): AppError {
  return new AppError(
    'PROGRESS_GAP',
    `Partition ${partition} of topic ${topic} does not hold offset ${offset} any more.`,
    { context: { topic, partition, offset } },
  );
}
