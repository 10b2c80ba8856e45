/**
 * Before a session: everything that must be right, and what a first start makes. Nothing is made before source and
 * tables have passed their checks. Order of a first start: the control record that says one has begun, topics,
 * publication, slot; so that it can die anywhere and be begun again, while anything missing later is a gap (I6).
 */
import { tableName } from '../../core/change.ts';
import { AppError } from '../../core/errors.ts';
import type { Loads } from '../../core/loads.ts';
import type { Mapping } from '../../core/mapping.ts';
import { nextGeneration } from '../../core/position.ts';
import {
  changedPublication,
  type ObservedSource,
  type Published,
  rewrittenColumns,
  type SourceDecision,
} from '../../core/source-identity.ts';
import { lostEnds } from '../../core/topic-ends.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import {
  type ControlRecord,
  type ControlState,
  type ControlWriter,
  controlTopicSpec,
  createControlWriter,
  readControl,
  type SourceRecord,
} from '../../kafka/control.ts';
import { deadLetterTopicSpec } from '../../kafka/dead-letters.ts';
import { requireRecordedTopics, topicIds } from '../../kafka/topic-ids.ts';
import { ensureTopics, partitionRanges, topicsExist, type TopicSpec, withAdmin } from '../../kafka/topics.ts';
import type { Sql } from '../../postgres/client.ts';
import { ensurePublication, missingTables, publishedTables } from '../../postgres/publication.ts';
import { createSlot, inspectSlot } from '../../postgres/slot.ts';
import { inspectSource, requireSource, type SourceInfo } from '../../postgres/source.ts';
import type { Problem } from '../../postgres/table-rules.ts';
import { checkTables } from '../../postgres/tables.ts';
import type { Log } from '../../runtime/log.ts';
import { judgeSource } from './judge-source.ts';
import { newLoad } from './loader.ts';

export interface PrepareContext {
  readonly mapping: Mapping;
  readonly sql: Sql;
  readonly databaseUrl: string;
  readonly client: KafkaClient;
  readonly managePublication: boolean;
  readonly log: Log;
}

/** Source and tables, before anything is touched: throws what is wrong with them. */
export async function checkSource({ sql, mapping }: PrepareContext, signal: AbortSignal): Promise<void> {
  requireSource(await inspectSource(sql, signal));
  await requireTables(sql, mapping, 'before the publication');
}

/** The control topic comes before everything else that is made: a first start says there that it has begun. */
export async function openControl(
  { mapping, client, log }: PrepareContext,
  signal: AbortSignal,
  ofNoUse?: AbortSignal,
): Promise<ControlWriter> {
  const { controlTopic, source } = mapping;
  await withAdmin(client, (admin) =>
    ensureTopics(admin, [controlTopicSpec(controlTopic, source.replicationFactor)], signal),
  );
  return createControlWriter(client, controlTopic, log, ofNoUse === undefined ? {} : { signal: ofNoUse });
}

export interface Prepared {
  readonly state: ControlState;
  readonly observed: ObservedSource;
  readonly decision: Exclude<SourceDecision, { readonly kind: 'gap' }>;
  readonly loads: Loads;
  /** As the publication has them now. */
  readonly published: Published;
  /** Ids of all topics that are written to. */
  readonly topics: ReadonlyMap<string, string>;
}

/**
 * Makes and verifies topics, publication and slot. The answer is final only for who holds the slot, or while there is
 * none: another publisher at work moves slot and record between our two looks.
 * Throws what is wrong with topics or publication, or SOURCE_CHANGED.
 */
export async function prepare(
  context: PrepareContext,
  control: ControlWriter,
  signal: AbortSignal,
): Promise<Prepared> {
  const { mapping, sql, client, log } = context;
  const { slot, publication, replicationFactor } = mapping.source;
  const topics = mapping.tables.map((table) => table.topic);
  return withAdmin(client, async (admin) => {
    const state = await readControl(client, mapping.controlTopic, signal);
    const found = await inspectSlot(sql, slot, signal);
    const present = await topicsExist(admin, topics);
    const { source, observed, decision } = await judgeSource(context, state.source, found, present, signal);
    if (decision.kind === 'gap') throw sourceChanged(decision.reason);
    const written = [...topics, mapping.deadLetterTopic];
    const known = await requireRecordedTopics(client, state.topics, written);
    const ends = state.source?.ends ?? {};
    const lost = lostEnds(ends, await partitionRanges(admin, [...known.keys()]));
    if (lost.length > 0) throw sourceChanged(lost.join('; '));

    const first = observed.slot === null;
    if (first) {
      const now = Date.now();
      const epoch = state.source?.epoch ?? nextGeneration(0, now);
      const session = nextGeneration(state.session, now);
      const unmapped = state.source?.published ?? {};
      await control.write([beginning(mapping, source, { epoch, session, published: unmapped, ends })]);
    }
    const deadLetters = deadLetterTopicSpec(mapping.deadLetterTopic, replicationFactor);
    const { created } = await ensureTopics(admin, [...dataTopics(mapping), deadLetters], signal);
    const generations = await nameGenerations(context, control, state, written);
    const recordedLoads = await preparePublication(context, control, state, first);
    if (first) {
      await createSlot(sql, slot, signal);
      log.info({ topics: created, slot }, 'first start: topics, publication and slot are made');
    }
    const published = await publishedTables(sql, { publication, tables: mapping.tables }, signal);
    const loads = { ...recordedLoads, ...loadsAnew(context, state, published) };
    return { state, observed, decision, loads, published, topics: generations };
  });
}

/**
 * Of tables whose rows changed without the stream, even where their older rows were left out: nobody knows which changed.
 * They are recorded together with how the tables are published now, by which this was found.
 */
function loadsAnew({ mapping, log }: PrepareContext, { source }: ControlState, published: Published): Loads {
  const recorded = source?.published ?? {};
  const unseen = changedPublication(recorded, published);
  if (unseen !== null) throw sourceChanged(unseen);
  const rewritten = rewrittenColumns(recorded, published, mapping.tables);
  for (const { table, column } of rewritten)
    log.warn(
      { table, column },
      'a column was replaced, retyped or rewritten: all rows of its table are published again',
    );
  return Object.fromEntries(rewritten.map(({ table }) => [table, newLoad(false)]));
}

/** Each topic's generation is written once, when it is first seen here: just created, or adopted empty. */
async function nameGenerations(
  { client, mapping }: PrepareContext,
  control: ControlWriter,
  state: ControlState,
  topics: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const ids = await topicIds(client, [...topics, mapping.controlTopic]);
  const createdAt = new Date().toISOString();
  const unnamed = topics.filter((topic) => !state.topics.has(topic));
  await control.write(
    unnamed.map((topic) => ({ kind: 'topic', topic, generation: idOf(ids, topic), createdAt })),
  );
  return ids;
}

/** News of a topic that was just created may not have reached every broker. */
function idOf(ids: ReadonlyMap<string, string>, topic: string): string {
  const id = ids.get(topic);
  if (id === undefined)
    throw new AppError('KAFKA_UNREACHABLE', `Topic ${topic} is not known to all brokers yet.`);
  return id;
}

/** A table that was not published while others were has to be loaded again: that is recorded before it is added. */
async function preparePublication(
  { mapping, sql, managePublication }: PrepareContext,
  control: ControlWriter,
  { source, session }: ControlState,
  first: boolean,
): Promise<Loads> {
  const { publication: name, slot } = mapping.source;
  const tables = mapping.tables.map(({ schema, name }) => ({ schema, name }));
  const publication = { name, slot, tables, manage: managePublication || first };
  const missing = new Set((await missingTables(sql, publication)).map(tableName));
  const recorded = Object.entries(source?.loads ?? {});
  const loads = Object.fromEntries(recorded.filter(([table]) => !missing.has(table)));
  if (source !== null && !first && missing.size > 0)
    await control.write([{ kind: 'source', ...source, session: nextGeneration(session, Date.now()), loads }]);
  await ensurePublication(sql, publication);
  await requireTables(sql, mapping, 'with the publication');
  return loads;
}

/** All problems of all tables at once. Before the publication is made or changed, what it lacks is no problem yet. */
export async function requireTables(
  sql: Sql,
  mapping: Mapping,
  when: 'before the publication' | 'with the publication',
): Promise<void> {
  const found = await checkTables(sql, mapping.tables, mapping.source.publication);
  refuse(when === 'with the publication' ? found : found.filter((p) => p.code !== 'POSTGRES_PUBLICATION'));
}

/** Throws all of them at once; none: does nothing. */
export function refuse(problems: readonly Problem[]): void {
  const [first] = problems;
  if (first === undefined) return;
  const lines = problems.map(({ message }) => `  ${message}`);
  throw new AppError(first.code, `The database does not fit the connector files:\n${lines.join('\n')}\n`);
}

/** The record of a source that is about to be begun. */
export function beginning(
  mapping: Mapping,
  { systemIdentifier, timeline, database }: SourceInfo,
  { epoch, session, published, ends }: Pick<SourceRecord, 'epoch' | 'session' | 'published' | 'ends'>,
): ControlRecord {
  return {
    kind: 'source',
    systemIdentifier,
    timeline,
    database,
    slot: mapping.source.slot,
    epoch,
    session,
    acknowledged: null,
    lastCommit: null,
    loads: {},
    published,
    askedAgain: null,
    refusedRequests: 0,
    xids: [],
    ends,
    at: new Date().toISOString(),
  };
}

/** Compacted, never expiring: a delete is a record that must stay (design §8). */
export function dataTopics({ source, tables }: Mapping): TopicSpec[] {
  return tables.map(({ topic }) => ({
    topic,
    partitions: source.partitions,
    replicationFactor: source.replicationFactor,
    configs: {
      'cleanup.policy': 'compact',
      'max.message.bytes': String(source.maxMessageBytes),
      'max.compaction.lag.ms': String(source.maxCompactionLagMs),
      'segment.ms': String(source.segmentMs),
    },
  }));
}

export function sourceChanged(reason: string): AppError {
  return new AppError('SOURCE_CHANGED', `The source is not the one that was recorded: ${reason}.`, {
    context: { reason },
  });
}
