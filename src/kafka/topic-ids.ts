/**
 * Which topic stands behind a name: the id that Kafka gives each topic when it is created. A topic that was deleted and
 * made again has another one, whatever its name and offsets say (I8). Asked of Kafka 2.8 and newer by Metadata 10.
 */
import { AppError } from '../core/errors.ts';
import { every } from '../runtime/every.ts';
import type { KafkaClient } from './client.ts';
import type { WireRequest } from './cluster.ts';
import { wrapKafka } from './errors.ts';
import {
  type Answer,
  NONE,
  protocolError,
  type Reader,
  UNKNOWN_TOPIC_OR_PARTITION,
  wireRequest,
  Writer,
} from './wire.ts';

const METADATA = { apiKey: 3, apiVersion: 10, apiName: 'Metadata' } as const;
const UUID_BYTES = 16;

const WATCH_EVERY_MS = 5_000;
const MISSING_TWICE = 2;

interface TopicId {
  readonly topic: string;
  readonly errorCode: number;
  readonly id: string;
}

/** By topic, as 32 hexadecimal digits; a topic that does not exist has none. */
export async function topicIds(
  kafka: KafkaClient,
  topics: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  try {
    const connection = await kafka.connect();
    try {
      const broker = await connection.cluster.findControllerBroker();
      const { results } = await broker.connectionPool.send(metadataRequest(topics));
      const found = results.filter(({ errorCode }) => errorCode !== UNKNOWN_TOPIC_OR_PARTITION);
      for (const { errorCode } of found) if (errorCode !== NONE) throw protocolError(errorCode);
      return new Map(found.map(({ topic, id }) => [topic, id]));
    } finally {
      await connection.close();
    }
  } catch (error) {
    throw wrapKafka(error, 'look the topics up', { topics: topics.join(', ') });
  }
}

/**
 * Runs until the signal. Throws KAFKA_TOPIC_CHANGED once a topic does not have the id that `expected` gives it: at once
 * if it has another, at the second look if it has none, since a broker that is starting may not know it yet.
 */
export async function watchTopics(
  kafka: KafkaClient,
  expected: ReadonlyMap<string, string>,
  signal: AbortSignal,
): Promise<void> {
  const topics = [...expected.keys()];
  let missing = 0;
  await every(WATCH_EVERY_MS, signal, async () => {
    // Whoever needs Kafka for what it does waits for it, or fails by it.
    const found = await topicIds(kafka, topics).catch(() => null);
    if (found === null) return;
    const lost = topics.filter((topic) => !found.has(topic));
    missing = lost.length === 0 ? 0 : missing + 1;
    requireSameTopics(expected, missing < MISSING_TWICE ? new Map([...expected, ...found]) : found);
  });
}

/** Those of `topics` that the control topic has a record of: what is not mapped any more may be gone. */
export function generationsOf(
  recorded: ReadonlyMap<string, { readonly generation: string }>,
  topics: readonly string[],
): ReadonlyMap<string, string> {
  return new Map(
    topics.flatMap((topic) => {
      const generation = recorded.get(topic)?.generation;
      return generation === undefined ? [] : [[topic, generation]];
    }),
  );
}

/**
 * Resolves to the generations of those of `topics` that there is a record of, if Kafka still has them as they were
 * recorded; else throws KAFKA_TOPIC_CHANGED.
 */
export async function requireRecordedTopics(
  kafka: KafkaClient,
  recorded: ReadonlyMap<string, { readonly generation: string }>,
  topics: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const generations = generationsOf(recorded, topics);
  requireSameTopics(generations, await topicIds(kafka, [...generations.keys()]));
  return generations;
}

/** Throws KAFKA_TOPIC_CHANGED naming all topics that are gone, or are others than they were. */
function requireSameTopics(expected: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>): void {
  const { gone, remade } = changedTopics(expected, found);
  const parts = [
    ...(gone.length > 0 ? [`no longer has ${gone.join(', ')}, which earlier sessions wrote`] : []),
    ...(remade.length > 0
      ? [`has other topics under the names ${remade.join(', ')}: they were made again`]
      : []),
  ];
  if (parts.length > 0) throw new AppError('KAFKA_TOPIC_CHANGED', `Kafka ${parts.join(', and ')}.`);
}

export function changedTopics(
  expected: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string>,
): { readonly gone: readonly string[]; readonly remade: readonly string[] } {
  const topics = [...expected.keys()];
  const gone = topics.filter((topic) => !found.has(topic));
  return {
    gone,
    remade: topics.filter((topic) => found.has(topic) && found.get(topic) !== expected.get(topic)),
  };
}

function metadataRequest(topics: readonly string[]): WireRequest<Answer<TopicId>> {
  const writer = new Writer();
  // Of the request header, which kafkajs writes as older versions have it: no tagged fields.
  writer.varint(0).varint(topics.length + 1);
  for (const topic of topics) {
    const name = Buffer.from(topic);
    writer
      .bytes(Buffer.alloc(UUID_BYTES))
      .varint(name.length + 1)
      .bytes(name)
      .varint(0);
  }
  // Neither create topics, nor tell who may do what.
  writer.int8(0).int8(0).int8(0).varint(0);
  return wireRequest<TopicId>(METADATA, writer.finish(), (reader) => {
    skipTags(reader);
    const clientSideThrottleTime = reader.int32();
    skipBrokers(reader);
    skipText(reader);
    reader.skip(4);
    const results = listOf(reader, topicOf);
    return { results, clientSideThrottleTime };
  });
}

function topicOf(reader: Reader): TopicId {
  const errorCode = reader.int16();
  const topic = reader.bytes(reader.varint() - 1).toString();
  const id = reader.bytes(UUID_BYTES).toString('hex');
  reader.skip(1);
  listOf(reader, skipPartition);
  reader.skip(4);
  skipTags(reader);
  return { topic, errorCode, id };
}

function skipPartition(reader: Reader): void {
  reader.skip(2 + 4 + 4 + 4);
  for (let lists = 0; lists < 3; lists++) reader.skip(4 * Math.max(reader.varint() - 1, 0));
  skipTags(reader);
}

function skipBrokers(reader: Reader): void {
  listOf(reader, () => {
    reader.skip(4);
    skipText(reader);
    reader.skip(4);
    skipText(reader);
    skipTags(reader);
  });
}

function listOf<T>(reader: Reader, read: (reader: Reader) => T): T[] {
  const found: T[] = [];
  for (let left = reader.varint() - 1; left > 0; left--) found.push(read(reader));
  return found;
}

/** A length of 0 is null. */
function skipText(reader: Reader): void {
  reader.skip(Math.max(reader.varint() - 1, 0));
}

function skipTags(reader: Reader): void {
  for (let tags = reader.varint(); tags > 0; tags--) {
    reader.varint();
    reader.skip(reader.varint());
  }
}
