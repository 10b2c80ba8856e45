/**
 * The publisher (I1): the only writer of the data topics.
 *
 *   prepare (tables, topics, publication, slot) ─▶ stream, once the slot is free ─▶ take over ─▶ flow
 *
 * Guarantee: every change of a mapped table that commits after the slot was made reaches Kafka at least once, per key
 * in the order of positions, and PostgreSQL keeps it until it has (I9). A second publisher stands by.
 * On failure: what may pass begins a new session from the slot; a changed source, a schema that no longer fits the
 * mapping, or missing rights end the service with one clear error.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { tableName } from '../../core/change.ts';
import { AppError, isAppError } from '../../core/errors.ts';
import { formatLsn, LSN_ZERO } from '../../core/lsn.ts';
import { createWrittenEnds, type WrittenEnds } from '../../core/topic-ends.ts';
import { mappedRelations, tablesByOid } from '../../core/mapped-tables.ts';
import type { Mapping } from '../../core/mapping.ts';
import { maxRecordBytes, openings, recordEncoder } from '../../core/records.ts';
import { createKafka, type KafkaClient, type KafkaOptions } from '../../kafka/client.ts';
import { type SourceRecord, unfinishedRecovery } from '../../kafka/control.ts';
import { watchEnds } from '../../kafka/lost-records.ts';
import { createPublisher } from '../../kafka/publisher.ts';
import { watchTopics } from '../../kafka/topic-ids.ts';
import { type Database, openDatabase, type Sql, withDeadline } from '../../postgres/client.ts';
import { createRowReader } from '../../postgres/rows.ts';
import { flushedLsn } from '../../postgres/messages.ts';
import { inspectSlot } from '../../postgres/slot.ts';
import { openStream, type ReplicationStream } from '../../postgres/stream.ts';
import { requireAsynchronous } from '../../postgres/synchronous.ts';
import { checkRelation } from '../../postgres/table-rules.ts';
import { checkKeys } from '../../postgres/tables.ts';
import { createTransactions } from '../../postgres/transactions.ts';
import type { Log } from '../../runtime/log.ts';
import { keepRunning } from '../../runtime/retry.ts';
import type { Service } from '../../runtime/service.ts';
import { emitMarker } from '../wait.ts';
import { oversized } from './dead-letters.ts';
import { runFlow } from './flow.ts';
import { createLoader, type Loader } from './loader.ts';
import { checkSource, openControl, prepare, requireTables, sourceChanged } from './prepare.ts';
import { createRepublisher } from './republisher.ts';
import { type Session, takeOver } from './take-over.ts';
import { createVisibility, type Visibility } from './visibility.ts';
import { watchPartitions } from './watch-partitions.ts';
import { createPublicationWatch, type PublicationWatch } from './watch-publication.ts';

export interface PublishOptions {
  readonly mapping: Mapping;
  readonly databaseUrl: string;
  readonly kafka: KafkaOptions;
  readonly managePublication: boolean;
  /** Publish the rows that are older than the slot? */
  readonly initialLoad: boolean;
  readonly log: Log;
}

const STANDBY_POLL_MS = 500;
const LOCK_TIMEOUT_MS = 100;

export function publishService(options: PublishOptions): Service {
  const { log } = options;
  return {
    async run(signal) {
      const client = createKafka(options.kafka, log);
      // Each session has connections of its own: what broke the last one may have left its idle ones half-open.
      const connected = async () => {
        const sql = openDatabase(options.databaseUrl);
        const reader = openDatabase(options.databaseUrl, {
          maxConnections: 2,
          lockTimeoutMs: LOCK_TIMEOUT_MS,
        });
        await session({ ...options, sql, reader, client }, signal).finally(() =>
          Promise.all([sql.close(), reader.close()]),
        );
      };
      await keepRunning(connected, {
        signal,
        onRetry(error, failures, delayMs) {
          log.warn({ error, failures, delayMs }, 'the publisher lost its session; beginning another');
        },
      });
    },
  };
}

interface Context extends PublishOptions {
  readonly sql: Database;
  /** For rows that are asked for: a locked table does not hold it up. */
  readonly reader: Database;
  readonly client: KafkaClient;
}

async function session(context: Context, signal: AbortSignal): Promise<void> {
  const { mapping, sql, log } = context;
  await checkSource(context, signal);
  const topicsChanged = new AbortController();
  const control = await openControl(context, signal, topicsChanged.signal);
  let stream: ReplicationStream | null = null;
  try {
    // One that is lost or invalidated cannot be opened; what that means is known.
    const slot = await inspectSlot(sql, mapping.source.slot, signal);
    if (slot === null || slot.invalidation !== null) await prepare(context, control, signal);
    stream = await openWhenFree(context, signal);
    const prepared = await prepare(context, control, signal);
    const confirmed = prepared.observed.slot?.confirmedFlush ?? LSN_ZERO;
    await requireAsynchronous(sql, stream, confirmed, log, signal);
    const prompt = withDeadline(sql, stream.walSenderTimeoutMs);
    const visibility = await createVisibility(prompt, prepared, signal);
    const loader = createLoader({
      mapping,
      sql: prompt,
      recorded: prepared.loads,
      // A recovery is nothing without its load.
      skip: !context.initialLoad && unfinishedRecovery(prepared.state) === null,
      log,
    });
    const { askedAgain = null, refusedRequests = 0, ends = {} } = prepared.state.source ?? {};
    const written = createWrittenEnds(ends);
    const requests = { askedAgain, refusedRequests };
    const oids = tablesByOid(prepared.published, mapping.tables);
    const publication = createPublicationWatch(prompt, mapping, oids, prepared.published);
    const taken = await takeOver(prepared, mapping, control, {
      xids: visibility.recorded,
      loads: loader.loads,
      published: publication.seen,
      requests: () => requests,
      ends: written.ends,
    });
    log.info({ epoch: taken.epoch, session: taken.session, slot: mapping.source.slot }, 'streaming');
    const { topics, observed } = prepared;
    const asMapped = mappedRelations(oids);
    const running = {
      prompt,
      visibility,
      loader,
      requests,
      topics,
      topicsChanged,
      publication,
      asMapped,
      written,
      recovering: unfinishedRecovery(prepared.state) !== null,
    };
    await publish(context, stream, taken, running, observed.database);
  } finally {
    await stream?.close();
    await control.close();
  }
}

interface Running {
  readonly prompt: Sql;
  readonly visibility: Visibility;
  readonly loader: Loader;
  readonly requests: { -readonly [Of in 'askedAgain' | 'refusedRequests']: SourceRecord[Of] };
  readonly publication: PublicationWatch;
  readonly asMapped: ReturnType<typeof mappedRelations>;
  readonly topics: ReadonlyMap<string, string>;
  /** Aborted when they are not what they were: nothing more is sent to them. */
  readonly topicsChanged: AbortController;
  readonly written: WrittenEnds;
  /** From a gap. */
  readonly recovering: boolean;
}

async function publish(
  { mapping, reader, client, log }: Context,
  stream: ReplicationStream,
  taken: Session,
  running: Running,
  database: string,
): Promise<void> {
  const { prompt, visibility, loader, requests, publication, asMapped, topics, topicsChanged, written } =
    running;
  const { epoch, session } = taken;
  const { maxMessageBytes, topicPrefix } = mapping.source;
  const names = [...mapping.tables.map((table) => table.topic), mapping.deadLetterTopic];
  const publisher = await createPublisher(
    client,
    { topics: names, maxRecordBytes: maxMessageBytes, signal: topicsChanged.signal, written },
    log,
  );
  const watched = (stop: AbortSignal) =>
    watchTopics(client, topics, stop).catch((error: unknown) => {
      topicsChanged.abort();
      throw error;
    });
  const mapped = new Map(mapping.tables.map((table) => [table.table, table]));
  const origin = { name: topicPrefix, database, epoch, session };
  const encoder = recordEncoder(mapping, origin);
  const republisher = createRepublisher({
    mapping,
    sql: prompt,
    rows: createRowReader(withDeadline(reader, stream.walSenderTimeoutMs)),
    visibility,
    encoder,
    onAnswered: loader.answered,
    onRefused: () => (requests.refusedRequests += 1),
    onAskedAgain(lsn) {
      requests.askedAgain = formatLsn(lsn);
    },
    log,
  });
  try {
    // What a paused publisher still sends of rows that the gap has swallowed must not be taken for news, not even
    // where nothing is written in the new epoch.
    if (running.recovering) await publisher.send(openings(mapping, origin, Date.now()));
    await runFlow({
      ...taken,
      events: stream,
      transactions: createTransactions({
        epoch,
        asMapped,
        isMapped: ({ schema, name }, column) => mapped.get(`${schema}.${name}`)?.columns.has(column) ?? false,
      }),
      encoder,
      async checkRelation(relation) {
        const known = asMapped(relation);
        encoder.announced(known ?? relation);
        const table = known === null ? undefined : mapped.get(tableName(known));
        if (table === undefined) return;
        checkRelation(relation, table);
        await publication.look();
        // The columns are the stream's; key and identity can only be seen as they are now, which is enough: whoever
        // changes them makes the stream announce the table again.
        const [problem] = await checkKeys(prompt, [table]);
        if (problem !== undefined)
          throw new AppError(problem.code, problem.message, { context: { table: table.table } });
      },
      maxRecordBytes: maxRecordBytes(mapping),
      deadLetter(record, bytes) {
        log.error(
          { topic: record.topic, position: record.position, bytes },
          'a record is too large for its topic: dead letter',
        );
        return oversized(record, bytes, mapping);
      },
      async send(records) {
        await stillOurs(stream, prompt);
        await publisher.send(records);
      },
      acknowledge(lsn) {
        stream.acknowledge(lsn);
      },
      prepare: republisher.prepare,
      async flush(upTo) {
        const flushed = await flushedLsn(prompt);
        if (flushed >= upTo) return flushed;
        await emitMarker(prompt);
        return flushedLsn(prompt);
      },
      async answer(message, stop) {
        try {
          return await republisher.answer(message, stop);
        } catch (error) {
          // A reading can meet a change of the table before the stream does: it tells less than a look at the table.
          if (isAppError(error, 'POSTGRES_SCHEMA'))
            await requireTables(prompt, mapping, 'with the publication');
          throw error;
        }
      },
      async beside(signal) {
        await Promise.all([
          visibility.watch(signal),
          loader.run(signal),
          watched(signal),
          publication.run(signal),
          watchPartitions(prompt, mapping, signal),
          watchEnds(client, topics, written.ends, signal),
        ]);
      },
      onCommit({ transaction }) {
        visibility.received(transaction.xid);
      },
    });
  } catch (error) {
    const gap = gapOf(error);
    if (gap === null) throw error;
    await taken.recordGap(gap);
    throw sourceChanged(gap);
  } finally {
    await publisher.close();
  }
}

/** Null: the error shows none that the next session may not see. */
function gapOf(error: unknown): string | null {
  if (!isAppError(error, 'SOURCE_CHANGED') && !isAppError(error, 'KAFKA_TOPIC_CHANGED')) return null;
  const { reason } = error.context;
  return typeof reason === 'string' ? reason : null;
}

/**
 * A paused process may have lost the slot without noticing (design §2): before each batch PostgreSQL must have been
 * heard from within its timeout, or be asked now. What slips through carries an old session number.
 */
async function stillOurs(stream: ReplicationStream, sql: Sql): Promise<void> {
  if (stream.heardAgoMs() > stream.walSenderTimeoutMs / 2) await stream.confirm(sql);
}

async function openWhenFree(
  { databaseUrl, mapping, log }: Context,
  signal: AbortSignal,
): Promise<ReplicationStream> {
  const { slot, publication } = mapping.source;
  for (let attempt = 1; ; attempt++) {
    try {
      return await openStream({ connectionString: databaseUrl, slot, publication }, signal);
    } catch (error) {
      if (!isAppError(error, 'SLOT_ACTIVE')) throw error;
      if (attempt === 1) log.info({ slot }, 'standing by: another publisher has the slot');
      await delay(STANDBY_POLL_MS, undefined, { signal });
    }
  }
}
