/**
 * The publisher (I1): the only writer of the data topics.
 *
 *   prepare (tables, topics, publication, slot) ─▶ stream, once the slot is free ─▶ take over ─▶ publish the stream
 *
 * Guarantee: every change of a mapped table that commits after the slot was made reaches Kafka at least once, per key
 * in the order of positions, and PostgreSQL keeps it until it has (I9). A second publisher stands by.
 * On failure: what may pass begins a new session from the slot; a changed source, a schema that no longer fits the
 * mapping, or missing rights end the service with one clear error.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { isAppError } from '../../core/errors.ts';
import { LSN_ZERO } from '../../core/lsn.ts';
import { createWrittenEnds } from '../../core/topic-ends.ts';
import { tablesByOid } from '../../core/mapped-tables.ts';
import type { Mapping } from '../../core/mapping.ts';
import { createKafka, type KafkaClient, type KafkaOptions } from '../../kafka/client.ts';
import { unfinishedRecovery } from '../../kafka/control.ts';
import { type Database, openDatabase, withDeadline } from '../../postgres/client.ts';
import { inspectSlot } from '../../postgres/slot.ts';
import { openStream, type ReplicationStream } from '../../postgres/stream.ts';
import { requireAsynchronous } from '../../postgres/synchronous.ts';
import type { Log } from '../../runtime/log.ts';
import { keepRunning } from '../../runtime/retry.ts';
import type { Service } from '../../runtime/service.ts';
import { createLoader } from './loader.ts';
import { checkSource, openControl, prepare } from './prepare.ts';
import { publishStream } from './streaming.ts';
import { takeOver } from './take-over.ts';
import { createVisibility } from './visibility.ts';
import { createPublicationWatch } from './watch-publication.ts';

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
  let opened: ReplicationStream | null = null;
  try {
    // One that is lost or invalidated cannot be opened; what that means is known.
    const slot = await inspectSlot(sql, mapping.source.slot, signal);
    if (slot === null || slot.invalidation !== null) await prepare(context, control, signal);
    const stream = await openWhenFree(context, signal);
    opened = stream;
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
    const requireOurs = () => stream.confirm(prompt);
    const taken = await takeOver(
      prepared,
      { mapping, control, requireOurs },
      {
        xids: visibility.recorded,
        loads: loader.loads,
        published: publication.seen,
        requests: () => requests,
        ends: written.ends,
      },
    );
    await publishStream(stream, {
      ...context,
      ...taken,
      database: prepared.observed.database,
      topics: prepared.topics,
      topicsChanged,
      oids,
      prompt,
      visibility,
      loader,
      requests,
      publication,
      written,
    });
  } finally {
    await opened?.close();
    await control.close();
  }
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
