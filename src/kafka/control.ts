/**
 * What a publisher remembers, in one small compacted topic: which source this is and how far it is acknowledged, the
 * sessions there were, and which topics it has made.
 *
 * Guarantee: durable when `write` resolves. Everything a session says of the source has the session in its key, and the
 * highest session is believed: what a paused publisher writes after another took over stays its own, whatever compaction
 * keeps (design §2). Records of a kind that this version does not know are left alone.
 *
 * On failure: as the publisher's; a record of a known kind that cannot be understood is fatal, never skipped.
 */
import { z } from 'zod';
import { AppError, isAppError } from '../core/errors.ts';
import type { TableLoad } from '../core/loads.ts';
import type { Log } from '../runtime/log.ts';
import type { KafkaClient } from './client.ts';
import { createPublisher, type PublisherOptions } from './publisher.ts';
import { readLatest } from './read-topic.ts';
import type { TopicSpec } from './topics.ts';

const lsnText = z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/);
const xid8 = z.string().regex(/^[0-9]{1,20}$/);

const tableLoad = z.object({
  state: z.enum(['loading', 'loaded', 'skipped']),
  cursor: z.array(z.string()).readonly().nullable(),
  rows: z.int().nonnegative(),
  expected: z.int().nonnegative(),
  startedAt: z.iso.datetime(),
}) satisfies z.ZodType<TableLoad>;

const sourceRecord = z.object({
  kind: z.literal('source'),
  session: z.int().nonnegative(),
  epoch: z.int().nonnegative(),
  systemIdentifier: z.string(),
  timeline: z.int(),
  database: z.string(),
  slot: z.string(),
  /** About to be acknowledged; null while a first start has not made its slot yet. */
  acknowledged: lsnText.nullable(),
  lastCommit: z.object({ lsn: lsnText, xid: z.int().nonnegative() }).nullable(),
  loads: z.record(z.string(), tableLoad),
  /** How the mapped tables were in the publication. */
  published: z.record(z.string(), z.string()).default({}),
  /** The last request to republish that the publisher emitted itself, for what was left of another; null: none yet. */
  askedAgain: lsnText.nullable(),
  /** How many requests to republish could not be understood, ever. */
  refusedRequests: z.int().nonnegative().default(0),
  /** Received, and not yet seen by any snapshot (I4): ranges, both ends included. */
  xids: z.array(z.tuple([xid8, xid8])),
  at: z.iso.datetime(),
  /** How far the topics were written, or had been written when the epoch began; none of a topic that is not named. */
  ends: z.record(z.string(), z.array(z.string().regex(/^\d+$/)).readonly()).default({}),
  /** Why no session can go on from here, found where only the stream shows it. */
  gap: z.string().optional(),
});

const sessionRecord = z.object({
  kind: z.literal('session'),
  session: z.int().nonnegative(),
  startedAt: z.iso.datetime(),
});

const topicRecord = z.object({
  kind: z.literal('topic'),
  topic: z.string(),
  /** Kafka's id of the topic: one that was deleted and made again has another one (I8). */
  generation: z.string(),
  createdAt: z.iso.datetime(),
});

/** The last recovery from a gap (I6). */
const recoveryRecord = z.object({
  kind: z.literal('recovery'),
  /** That it began. */
  epoch: z.int().nonnegative(),
  /** That was recorded before it; of one that began before another had ended, before that. */
  after: z.int().nonnegative().optional(),
  reasons: z.array(z.string()),
  /** Those that the graph may hold the data of until it is proved to be this one's: see `nameOfSource`. */
  previousSources: z.array(z.string()).default([]),
  beganAt: z.iso.datetime(),
  /** When the graph was proved again; null: it is not yet. */
  finishedAt: z.iso.datetime().nullable(),
  /** Where the partitions began and ended, before anything of the new epoch. */
  ranges: z.array(
    z.object({
      topic: z.string(),
      partition: z.int(),
      low: z.string().regex(/^\d+$/),
      end: z.string().regex(/^\d+$/),
    }),
  ),
});

/** What was last proved of a table of a graph. */
const verifiedRecord = z.object({
  kind: z.literal('verified'),
  table: z.string(),
  /** The graph that was compared: another one is not proved by it. */
  graph: z.string(),
  epoch: z.int().nonnegative(),
  /** Everything committed before it, and before `at`. */
  lsn: lsnText,
  /** Digest of the table's mapping that it was compared by; another one is not proved, nor is one that is not known. */
  mapping: z.string().optional(),
  at: z.iso.datetime(),
});

const controlRecord = z.discriminatedUnion('kind', [
  sourceRecord,
  sessionRecord,
  topicRecord,
  recoveryRecord,
  verifiedRecord,
]);
const KINDS = new Set(controlRecord.options.map(({ shape }) => shape.kind.value as string));

export type SourceRecord = Omit<z.infer<typeof sourceRecord>, 'kind'>;
export type TopicRecord = Omit<z.infer<typeof topicRecord>, 'kind'>;
export type RecoveryRecord = Omit<z.infer<typeof recoveryRecord>, 'kind'>;
export type VerifiedRecord = Omit<z.infer<typeof verifiedRecord>, 'kind'>;
export type ControlRecord = z.infer<typeof controlRecord>;

export interface ControlState {
  /** What the highest session that said anything of the source said last. */
  readonly source: SourceRecord | null;
  /** The highest there was; 0 if none. */
  readonly session: number;
  readonly topics: ReadonlyMap<string, TopicRecord>;
  readonly recovery: RecoveryRecord | null;
  /** By graph, then by table. */
  readonly verified: ReadonlyMap<string, ReadonlyMap<string, VerifiedRecord>>;
  /** Ascending. */
  readonly sessions: readonly number[];
}

export const NO_CONTROL: ControlState = {
  source: null,
  session: 0,
  topics: new Map(),
  recovery: null,
  verified: new Map(),
  sessions: [],
};

export interface ControlWriter {
  readonly write: (records: readonly ControlRecord[]) => Promise<void>;
  readonly forgetTopics: (topics: readonly string[]) => Promise<void>;
  /** All but the last two sessions of `state`. */
  readonly forgetOldSessions: (state: ControlState) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Written often and read whole: small segments, compacted early. */
export function controlTopicSpec(topic: string, replicationFactor: number): TopicSpec {
  const configs = {
    'cleanup.policy': 'compact',
    'segment.bytes': String(1024 * 1024),
    'min.cleanable.dirty.ratio': '0.1',
  };
  return { topic, partitions: 1, replicationFactor, configs };
}

/** Everything that was durable before the call. Rejects with KAFKA_TOPIC if the topic is missing. */
export async function readControl(
  kafka: KafkaClient,
  topic: string,
  signal: AbortSignal,
): Promise<ControlState> {
  const latest = await readLatest(kafka, topic, signal, String);
  return controlState([...latest.values()]);
}

/** As `readControl`; null: there is no control topic, so no publisher has ever started. */
export async function readControlIfAny(
  kafka: KafkaClient,
  topic: string,
  signal: AbortSignal,
): Promise<ControlState | null> {
  try {
    return await readControl(kafka, topic, signal);
  } catch (error) {
    if (isAppError(error, 'KAFKA_TOPIC')) return null;
    throw error;
  }
}

/** The recovery that has begun and is not finished; null: none. */
export function unfinishedRecovery({ recovery }: Pick<ControlState, 'recovery'>): RecoveryRecord | null {
  return recovery?.finishedAt === null ? recovery : null;
}

/** `values`: the last one of each key. */
export function controlState(values: readonly string[]): ControlState {
  let source: SourceRecord | null = null;
  let recovery: RecoveryRecord | null = null;
  const verified = new Map<string, ReadonlyMap<string, VerifiedRecord>>();
  const topics = new Map<string, TopicRecord>();
  const sessions = new Set<number>();
  for (const value of values) {
    const record = parse(value);
    if (record === null) continue;
    if (record.kind === 'topic') topics.set(record.topic, record);
    else if (record.kind === 'recovery') recovery = record;
    else if (record.kind === 'verified')
      verified.set(record.graph, new Map(verified.get(record.graph)).set(record.table, record));
    else sessions.add(record.session);
    if (record.kind === 'source' && record.session >= (source?.session ?? 0)) source = record;
  }
  // Nothing is acknowledged before topics are recorded: this a publisher at work wrote to a topic that was made again.
  if (topics.size === 0 && source?.acknowledged != null) source = null;
  const ascending = [...sessions].sort((a, b) => a - b);
  return { source, session: ascending.at(-1) ?? 0, topics, recovery, verified, sessions: ascending };
}

function parse(value: string): ControlRecord | null {
  try {
    const content: unknown = JSON.parse(value);
    const { kind } = z.object({ kind: z.string() }).parse(content);
    return KINDS.has(kind) ? controlRecord.parse(content) : null;
  } catch (cause) {
    throw new AppError('CONTROL_MALFORMED', 'The control topic holds a record that cannot be understood.', {
      cause,
    });
  }
}

/** For who is not the publisher, and has one thing to say. */
export async function writeControl(
  kafka: KafkaClient,
  topic: string,
  log: Log,
  records: readonly ControlRecord[],
): Promise<void> {
  const control = await createControlWriter(kafka, topic, log);
  try {
    await control.write(records);
  } finally {
    await control.close();
  }
}

export async function createControlWriter(
  kafka: KafkaClient,
  topic: string,
  log: Log,
  options: Pick<PublisherOptions, 'signal'> = {},
): Promise<ControlWriter> {
  const publisher = await createPublisher(kafka, { ...options, topics: [topic], maxInFlight: 1 }, log);
  return {
    async write(records) {
      await publisher.send(
        records.map((record) => ({ topic, key: controlKey(record), value: JSON.stringify(record) })),
      );
    },
    async forgetTopics(topics) {
      await publisher.send(
        topics.map((name) => ({ topic, key: controlKey({ kind: 'topic', topic: name }), value: null })),
      );
    },
    async forgetOldSessions({ sessions }) {
      const forgotten = sessions.slice(0, -2).flatMap((session) => [
        { topic, key: controlKey({ kind: 'source', session }), value: null },
        { topic, key: controlKey({ kind: 'session', session }), value: null },
      ]);
      await publisher.send(forgotten);
    },
    close: () => publisher.close(),
  };
}

/** A source record's key has the session: see the guarantee above. */
function controlKey(record: KeyOf<ControlRecord>): string {
  switch (record.kind) {
    case 'topic':
      return JSON.stringify({ kind: record.kind, topic: record.topic });
    case 'recovery':
      return JSON.stringify({ kind: record.kind });
    case 'verified':
      return JSON.stringify({ kind: record.kind, graph: record.graph, table: record.table });
    case 'source':
    case 'session':
      return JSON.stringify({ kind: record.kind, session: record.session });
  }
}

type KeyOf<R> = R extends ControlRecord
  ? Pick<R, keyof R & ('kind' | 'session' | 'topic' | 'graph' | 'table')>
  : never;
