/**
 * Topics as the mapping wants them: absent ones are created, present ones are verified and never altered; everything that
 * does not fit is reported at once (KAFKA_TOPIC).
 */
import kafkajs, { type Admin, type ITopicConfig } from 'kafkajs';
import { AppError } from '../core/errors.ts';
import { allOf } from '../runtime/all-of.ts';
import { retry } from '../runtime/retry.ts';
import type { KafkaClient } from './client.ts';
import { wrapKafka } from './errors.ts';
import type { PartitionRange } from './offsets.ts';

const { ConfigResourceTypes } = kafkajs;

const KNOWN_WITHIN_MS = 10_000;
const LOOK_AGAIN_MS = 50;

export interface TopicSpec {
  readonly topic: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  /** By Kafka's names, such as `cleanup.policy`; what is not named here is left to the broker. */
  readonly configs: Readonly<Record<string, string>>;
}

/** Lends an administration client. Errors that are Kafka's leave as ours. */
export async function withAdmin<T>(kafka: KafkaClient, use: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = kafka.admin();
  try {
    await admin.connect();
    return await use(admin);
  } catch (error) {
    throw wrapKafka(error, 'administer the topics');
  } finally {
    await admin.disconnect();
  }
}

export interface TopicState {
  readonly partitions: number;
  /** By Kafka's names. */
  readonly configs: ReadonlyMap<string, string>;
}

/** Rejects with KAFKA_TOPIC naming every difference of every topic; then nothing was created either. */
export async function ensureTopics(
  admin: Admin,
  specs: readonly TopicSpec[],
  signal: AbortSignal,
): Promise<{ readonly created: readonly string[] }> {
  try {
    const present = await describeTopics(
      admin,
      await topicsExist(
        admin,
        specs.map((spec) => spec.topic),
      ),
    );
    const problems = specs.flatMap((spec) => differences(spec, present.get(spec.topic)));
    if (problems.length > 0) throw new AppError('KAFKA_TOPIC', problems.join(' '));
    const absent = specs.filter((spec) => !present.has(spec.topic));
    const created = absent.map((spec) => spec.topic);
    if (created.length > 0) {
      await admin.createTopics({ topics: absent.map(creation), waitForLeaders: false });
      await known(admin, created, signal);
    }
    return { created };
  } catch (error) {
    throw wrapKafka(error, 'prepare the topics');
  }
}

/** The controller has made them; the broker that is asked may learn of it, and leaders that they lead, a little later. */
async function known(admin: Admin, topics: readonly string[], signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + KNOWN_WITHIN_MS;
  const passing = ({ code }: AppError): boolean => code === 'KAFKA_TOPIC' || code === 'KAFKA_UNREACHABLE';
  const serving = async () => {
    try {
      await admin.fetchTopicMetadata({ topics: [...topics] });
      await partitionRanges(admin, topics);
    } catch (error) {
      throw wrapKafka(error, 'find the new topics');
    }
  };
  await retry(serving, {
    signal,
    maxMs: LOOK_AGAIN_MS,
    again: (error) => passing(error) && performance.now() < deadline,
  });
}

/** Those of `topics` that exist. */
export async function topicsExist(admin: Admin, topics: readonly string[]): Promise<readonly string[]> {
  try {
    const known = new Set(await admin.listTopics());
    return topics.filter((topic) => known.has(topic));
  } catch (error) {
    throw wrapKafka(error, 'list the topics');
  }
}

/** Rejects with KAFKA_TOPIC if one of the topics is missing. */
export async function endOffsets(
  admin: Admin,
  topics: readonly string[],
): Promise<ReadonlyMap<string, readonly Omit<PartitionRange, 'topic'>[]>> {
  try {
    const offsets = await allOf(topics.map((topic) => admin.fetchTopicOffsets(topic)));
    return new Map(
      topics.map((topic, i) => [
        topic,
        (offsets[i] ?? [])
          .map(({ partition, low, high }) => ({ partition, low: BigInt(low), end: BigInt(high) }))
          .sort((a, b) => a.partition - b.partition),
      ]),
    );
  } catch (error) {
    throw wrapKafka(error, 'read the offsets of the topics');
  }
}

/** The first offset of each partition that was published at `sinceMs` or later; its end if there is none. */
export async function offsetsSince(
  admin: Admin,
  topics: readonly string[],
  sinceMs: number,
): Promise<readonly { readonly topic: string; readonly partition: number; readonly offset: bigint }[]> {
  try {
    const found = await allOf(topics.map((topic) => admin.fetchTopicOffsetsByTimestamp(topic, sinceMs)));
    return topics.flatMap((topic, i) =>
      (found[i] ?? []).map(({ partition, offset }) => ({ topic, partition, offset: BigInt(offset) })),
    );
  } catch (error) {
    throw wrapKafka(error, 'look up the offsets of a time');
  }
}

/** As `endOffsets`, all in one list. */
export async function partitionRanges(admin: Admin, topics: readonly string[]): Promise<PartitionRange[]> {
  const ends = await endOffsets(admin, topics);
  return [...ends].flatMap(([topic, partitions]) => partitions.map((range) => ({ topic, ...range })));
}

/** Of topics that exist. */
export async function describeTopics(
  admin: Admin,
  topics: readonly string[],
): Promise<ReadonlyMap<string, TopicState>> {
  if (topics.length === 0) return new Map();
  const [metadata, described] = await allOf([
    admin.fetchTopicMetadata({ topics: [...topics] }),
    admin.describeConfigs({
      resources: topics.map((name) => ({ type: ConfigResourceTypes.TOPIC, name })),
      includeSynonyms: false,
    }),
  ]);
  const configs = new Map(
    described.resources.map((resource) => [
      resource.resourceName,
      new Map(resource.configEntries.map((entry) => [entry.configName, entry.configValue])),
    ]),
  );
  return new Map(
    metadata.topics.map(({ name, partitions }) => {
      return [
        name,
        { partitions: partitions.length, configs: configs.get(name) ?? new Map<string, string>() },
      ];
    }),
  );
}

/** For people, each with what to do about it; none of a topic that is absent. */
export function differences(
  { topic, partitions, configs }: Omit<TopicSpec, 'replicationFactor'>,
  state: TopicState | undefined,
): string[] {
  if (state === undefined) return [];
  const problems: string[] = [];
  if (state.partitions !== partitions) {
    problems.push(
      `Topic ${topic} has ${state.partitions} partitions, not ${partitions}: set "partitions" to ${state.partitions}.`,
    );
  }
  const wrong = Object.entries(configs).filter(([name, value]) => !sameValue(state.configs.get(name), value));
  if (wrong.length > 0) {
    const actual = wrong.map(([name, value]) => `${name}=${state.configs.get(name) ?? ''}, not ${value}`);
    const wanted = wrong.map(([name, value]) => `${name}=${value.includes(',') ? `[${value}]` : value}`);
    problems.push(
      `Topic ${topic} has ${actual.join(', ')}: run kafka-configs.sh --bootstrap-server … --alter ` +
        `--entity-type topics --entity-name ${topic} --add-config ${wanted.join(',')}`,
    );
  }
  return problems;
}

/** Kafka gives lists back in any order. */
function sameValue(actual: string | undefined, wanted: string): boolean {
  const sorted = (text: string): string => text.split(',').sort().join();
  return actual !== undefined && sorted(actual) === sorted(wanted);
}

function creation({ topic, partitions, replicationFactor, configs }: TopicSpec): ITopicConfig {
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
  return { topic, numPartitions: partitions, replicationFactor, configEntries };
}
