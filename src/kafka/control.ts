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
import { createPublisher } from './publisher.ts';
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
  /** The last request to republish that the publisher emitted itself, for what was left of another; null: none yet. */
  askedAgain: lsnText.nullable(),
  /** Received, and not yet seen by any snapshot (I4): ranges, both ends included. */
  xids: z.array(z.tuple([xid8, xid8])),
  at: z.iso.datetime(),
});

const sessionRecord = z.object({
  kind: z.literal('session'),
  session: z.int().nonnegative(),
  startedAt: z.iso.datetime(),
  /** Random, to tell two processes apart. */
  owner: z.string().optional(),
});

const topicRecord = z.object({
  kind: z.literal('topic'),
  topic: z.string(),
  /** Random: a topic that was deleted and made again has another one (I8). */
  generation: z.string(),
  createdAt: z.iso.datetime(),
});

const controlRecord = z.discriminatedUnion('kind', [sourceRecord, sessionRecord, topicRecord]);
const KINDS = new Set(['source', 'session', 'topic']);

export type SourceRecord = Omit<z.infer<typeof sourceRecord>, 'kind'>;
export type TopicRecord = Omit<z.infer<typeof topicRecord>, 'kind'>;
export type ControlRecord = z.infer<typeof controlRecord>;

export interface ControlState {
  /** What the highest session that said anything of the source said last. */
  readonly source: SourceRecord | null;
  /** The highest there was; 0 if none. */
  readonly session: number;
  readonly topics: ReadonlyMap<string, TopicRecord>;
  /** Ascending. */
  readonly sessions: readonly number[];
}

export interface ControlWriter {
  readonly write: (records: readonly ControlRecord[]) => Promise<void>;
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
  const latest = await readLatest(kafka, topic, signal);
  return controlState([...latest.values()].map((value) => value.toString()));
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

/** `values`: the last one of each key. */
export function controlState(values: readonly string[]): ControlState {
  let source: SourceRecord | null = null;
  const topics = new Map<string, TopicRecord>();
  const sessions = new Set<number>();
  for (const value of values) {
    const record = parse(value);
    if (record === null) continue;
    if (record.kind === 'topic') topics.set(record.topic, record);
    else sessions.add(record.session);
    if (record.kind === 'source' && record.session >= (source?.session ?? 0)) source = record;
  }
  const ascending = [...sessions].sort((a, b) => a - b);
  return { source, session: ascending.at(-1) ?? 0, topics, sessions: ascending };
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

export async function createControlWriter(
  kafka: KafkaClient,
  topic: string,
  log: Log,
): Promise<ControlWriter> {
  const publisher = await createPublisher(kafka, { topics: [topic], maxInFlight: 1 }, log);
  return {
    async write(records) {
      await publisher.send(
        records.map((record) => ({ topic, key: controlKey(record), value: JSON.stringify(record) })),
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
function controlKey(
  record:
    | { readonly kind: 'source' | 'session'; readonly session: number }
    | { readonly kind: 'topic'; readonly topic: string },
): string {
  const { kind } = record;
  return JSON.stringify(kind === 'topic' ? { kind, topic: record.topic } : { kind, session: record.session });
}
