/**
 * What has been fetched of one partition and not yet been worked on: bounded in bytes, in order, merged on pull.
 *
 * A batch says where it starts and where the next one does (`[from, next)`), and each starts where the last one ended:
 * compaction leaves holes, so the records alone do not tell. A stretch of which compaction has left nothing is a batch
 * without records, for progress must move over it as well.
 */
import { Gate } from './gate.ts';
import type { DecodedBatches, IncomingRecord } from './record-batch.ts';
import type { TopicPartition } from './wire.ts';

export interface RecordBatch extends TopicPartition {
  readonly from: bigint;
  /** Where the batch after this one starts. */
  readonly next: bigint;
  readonly records: readonly IncomingRecord[];
}

export interface LaneLimits {
  /** Nothing more is fetched while this much waits. */
  readonly queueBytes: number;
  /** Of one batch; a single record may be larger. */
  readonly maxRecords: number;
  readonly maxBytes: number;
}

interface Chunk {
  readonly records: readonly IncomingRecord[];
  readonly next: bigint;
  /** How many of the records have been taken. */
  taken: number;
}

export class Lane implements AsyncIterable<RecordBatch> {
  readonly topic: string;
  readonly partition: number;
  readonly #limits: LaneLimits;
  readonly #onRoom: () => void;
  readonly #chunks: Chunk[] = [];
  #queuedBytes = 0;
  #fetchOffset: bigint;
  #delivered: bigint;
  #ended = false;
  #committed: bigint | null = null;
  readonly #filled = new Gate();

  constructor({ topic, partition }: TopicPartition, next: bigint, limits: LaneLimits, onRoom: () => void) {
    this.topic = topic;
    this.partition = partition;
    this.#limits = limits;
    this.#onRoom = onRoom;
    this.#fetchOffset = next;
    this.#delivered = next;
  }

  get fetchOffset(): bigint {
    return this.#fetchOffset;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get hasRoom(): boolean {
    return !this.#ended && this.#queuedBytes < this.#limits.queueBytes;
  }

  /** What a fetch from `fetchOffset` brought. */
  push({ records, next }: DecodedBatches): void {
    if (this.#ended || next === this.#fetchOffset) return;
    this.#fetchOffset = next;
    for (const record of records) this.#queuedBytes += bytesOf(record);
    this.#chunks.push({ records, next, taken: 0 });
    this.#filled.open();
  }

  /** Ends the iteration; what waits is dropped, to be fetched again by whoever takes the partition over. */
  end(): void {
    this.#ended = true;
    this.#chunks.length = 0;
    this.#filled.open();
  }

  commit(next: bigint): void {
    this.#committed = next;
  }

  /** What has been committed since the last call: one position or none. */
  takeCommit(): (TopicPartition & { readonly next: bigint })[] {
    const next = this.#committed;
    this.#committed = null;
    return next === null ? [] : [{ topic: this.topic, partition: this.partition, next }];
  }

  /** For one reader. */
  async *[Symbol.asyncIterator](): AsyncGenerator<RecordBatch> {
    for (;;) {
      while (this.#chunks.length === 0) {
        if (this.#ended) return;
        await this.#filled.wait();
      }
      yield this.#take();
    }
  }

  #take(): RecordBatch {
    const { maxRecords, maxBytes } = this.#limits;
    const records: IncomingRecord[] = [];
    const from = this.#delivered;
    let bytes = 0;
    for (let chunk = this.#chunks[0]; chunk !== undefined; chunk = this.#chunks[0]) {
      for (
        let record = chunk.records[chunk.taken];
        record !== undefined;
        record = chunk.records[chunk.taken]
      ) {
        const size = bytesOf(record);
        if (records.length >= maxRecords || (records.length > 0 && bytes + size > maxBytes)) {
          return this.#deliver(from, record.offset, records, bytes);
        }
        records.push(record);
        bytes += size;
        chunk.taken++;
      }
      this.#delivered = chunk.next;
      this.#chunks.shift();
    }
    return this.#deliver(from, this.#delivered, records, bytes);
  }

  #deliver(from: bigint, next: bigint, records: IncomingRecord[], bytes: number): RecordBatch {
    const wasFull = this.#queuedBytes >= this.#limits.queueBytes;
    this.#queuedBytes -= bytes;
    this.#delivered = next;
    if (wasFull && this.hasRoom) this.#onRoom();
    return { topic: this.topic, partition: this.partition, from, next, records };
  }
}

export function bytesOf({ key, value }: IncomingRecord): number {
  return (key?.length ?? 0) + (value?.length ?? 0);
}
