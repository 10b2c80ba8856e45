/**
 * Records that could not be applied, each with its reason (I12): a compacted topic with the latest letter of each record
 * key, so that a key that fails again and again takes one place. Redriving is a republish request; see there.
 *
 * A letter is settled by a record of another key that names it, and never removed: a letter of the same key that is
 * written at that very moment stays open.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { AppError } from '../core/errors.ts';
import type { Log } from '../runtime/log.ts';
import type { KafkaClient } from './client.ts';
import { createPublisher, type OutgoingRecord } from './publisher.ts';
import { readLatest } from './read-topic.ts';
import type { TopicSpec } from './topics.ts';

const MAX_VALUE_BYTES = 256 * 1024;

const deadLetter = z.object({
  reason: z.object({ code: z.string(), message: z.string() }),
  topic: z.string(),
  /** Absent where the record never got into its topic. */
  partition: z.int().optional(),
  offset: z.string().optional(),
  key: z.string().nullable(),
  position: z.string().optional(),
  /** In bytes. */
  size: z.int(),
  at: z.iso.datetime(),
  /** Absent above 256 KiB. */
  value: z.string().optional(),
});

const withoutRow = deadLetter.omit({ value: true });
const settlement = z.object({ settled: z.string(), at: z.iso.datetime() });

export type DeadLetter = z.infer<typeof deadLetter>;

/** `id` names the letter, not its key: another letter of the same key has another one. Without the row: letters may be many. */
export type OpenLetter = Omit<DeadLetter, 'value'> & { readonly id: string };

export interface DeadLetters {
  /** Durable when resolved. */
  readonly send: (letters: readonly Omit<DeadLetter, 'at'>[]) => Promise<void>;
  /** They are open no longer. Durable when resolved. */
  readonly settle: (letters: readonly OpenLetter[]) => Promise<void>;
  readonly close: () => Promise<void>;
}

export function deadLetterTopicSpec(topic: string, replicationFactor: number): TopicSpec {
  return { topic, partitions: 1, replicationFactor, configs: { 'cleanup.policy': 'compact' } };
}

export async function createDeadLetters(kafka: KafkaClient, topic: string, log: Log): Promise<DeadLetters> {
  const publisher = await createPublisher(kafka, { topics: [topic] }, log);
  return {
    send: (letters) => publisher.send(letters.map((letter) => deadLetterRecord(topic, letter))),
    settle: (letters) =>
      publisher.send(
        letters.map(({ id, topic: of, key }) => ({
          topic,
          key: JSON.stringify({ settles: { topic: of, key } }),
          value: JSON.stringify({ settled: id, at: new Date().toISOString() }),
        })),
      ),
    close: () => publisher.close(),
  };
}

export function deadLetterRecord(
  deadLetters: string,
  { value, ...letter }: Omit<DeadLetter, 'at'>,
): OutgoingRecord & { readonly value: string } {
  const small = value !== undefined && Buffer.byteLength(value) <= MAX_VALUE_BYTES;
  return {
    topic: deadLetters,
    key: JSON.stringify({ topic: letter.topic, key: letter.key }),
    value: JSON.stringify({ ...letter, at: new Date().toISOString(), ...(small ? { value } : {}) }),
  };
}

/** The latest letter of each record key that is not settled, oldest first. Rejects with KAFKA_TOPIC if the topic is missing. */
export async function readDeadLetters(
  kafka: KafkaClient,
  topic: string,
  signal: AbortSignal,
): Promise<readonly OpenLetter[]> {
  const understood = (value: Buffer) => {
    try {
      return z.union([settlement, withoutRow]).parse(JSON.parse(value.toString()));
    } catch (cause) {
      throw new AppError('KAFKA_FAILED', `Topic ${topic} holds a dead letter that cannot be understood.`, {
        cause,
      });
    }
  };
  const latest = [...(await readLatest(kafka, topic, signal, understood)).values()];
  const settled = new Set(latest.flatMap((record) => ('settled' in record ? [record.settled] : [])));
  return latest
    .flatMap((record) => ('settled' in record ? [] : [{ ...record, id: idOf(record) }]))
    .filter(({ id }) => !settled.has(id))
    .sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
}

/** Short enough to be typed. */
function idOf({ topic, key, partition, offset, position, at }: Omit<OpenLetter, 'id'>): string {
  const name = JSON.stringify([topic, key, partition, offset, position, at]);
  return createHash('sha256').update(name).digest('hex').slice(0, 12);
}
