/**
 * A session at work: the stream's changes and the answers to requests become records of the data topics, beside whatever
 * watches that the session may go on. Ends with the stream; a gap that is found is recorded first.
 */
import { AppError, isAppError } from '../../core/errors.ts';
import { formatLsn } from '../../core/lsn.ts';
import { mappedRelations } from '../../core/mapped-tables.ts';
import type { Mapping, TableMapping } from '../../core/mapping.ts';
import { maxRecordBytes, openings, recordEncoder } from '../../core/records.ts';
import type { WrittenEnds } from '../../core/topic-ends.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import type { SourceRecord } from '../../kafka/control.ts';
import { watchEnds } from '../../kafka/lost-records.ts';
import { createPublisher, type OutgoingRecord } from '../../kafka/publisher.ts';
import { watchTopics } from '../../kafka/topic-ids.ts';
import { type Sql, withDeadline } from '../../postgres/client.ts';
import { flushedLsn } from '../../postgres/messages.ts';
import { createRowReader } from '../../postgres/rows.ts';
import type { ReplicationStream } from '../../postgres/stream.ts';
import { checkRelation } from '../../postgres/table-rules.ts';
import { checkKeys } from '../../postgres/tables.ts';
import { createTransactions } from '../../postgres/transactions.ts';
import type { Log } from '../../runtime/log.ts';
import { emitMarker } from '../wait.ts';
import { oversized } from './dead-letters.ts';
import { runFlow } from './flow.ts';
import type { Loader } from './loader.ts';
import { requireTables, sourceChanged } from './prepare.ts';
import { createRepublisher } from './republisher.ts';
import type { Session } from './take-over.ts';
import type { Visibility } from './visibility.ts';
import { watchPartitions } from './watch-partitions.ts';
import type { PublicationWatch } from './watch-publication.ts';

export interface StreamingContext extends Session {
  readonly mapping: Mapping;
  readonly database: string;
  readonly client: KafkaClient;
  /** Ids of all topics that are written to. */
  readonly topics: ReadonlyMap<string, string>;
  /** Aborted when they are not what they were: nothing more is sent to them. */
  readonly topicsChanged: AbortController;
  /** The mapped tables by oid. */
  readonly oids: ReadonlyMap<number, TableMapping>;
  /** Answers within the time after which PostgreSQL would give up the stream. */
  readonly prompt: Sql;
  /** For rows that are asked for: a locked table does not hold it up. */
  readonly reader: Sql;
  readonly visibility: Visibility;
  readonly loader: Loader;
  readonly requests: { -readonly [Of in 'askedAgain' | 'refusedRequests']: SourceRecord[Of] };
  readonly publication: PublicationWatch;
  readonly written: WrittenEnds;
  readonly log: Log;
}

export async function publishStream(stream: ReplicationStream, context: StreamingContext): Promise<void> {
  const { mapping, epoch, session, database, client, topics, topicsChanged, oids, log } = context;
  const { prompt, reader, visibility, loader, requests, publication, written } = context;
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
  const asMapped = mappedRelations(oids);
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
  const send = async (records: readonly OutgoingRecord[]) => {
    await stillOurs(stream, prompt);
    await publisher.send(records);
  };
  try {
    // What a paused publisher still sends of rows that the gap has swallowed must not be taken for news, not even
    // where nothing is written in the new epoch.
    if (context.opensEpoch) await send(openings(mapping, origin, Date.now()));
    await context.begin();
    log.info({ epoch, session, slot: mapping.source.slot }, 'streaming');
    await runFlow({
      events: stream,
      transactions: createTransactions({
        epoch,
        asMapped,
        isMapped: ({ oid }, column) => oids.get(oid)?.columns.has(column) ?? false,
      }),
      encoder,
      async checkRelation(relation) {
        encoder.announced(asMapped(relation) ?? relation);
        const table = oids.get(relation.oid);
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
      send,
      overlap: context.overlap,
      record: context.record,
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
    await context.recordGap(gap);
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
