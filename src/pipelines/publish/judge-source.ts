/** Is this the source that was recorded, and of which the topics are (I6)? Asks PostgreSQL and Kafka, writes nothing. */
import { parseLsn } from '../../core/lsn.ts';
import {
  decideSource,
  type ObservedSource,
  type RecordedSource,
  type SourceDecision,
} from '../../core/source-identity.ts';
import type { Mapping } from '../../core/mapping.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import type { SourceRecord } from '../../kafka/control.ts';
import type { Sql } from '../../postgres/client.ts';
import { publishedTables } from '../../postgres/publication.ts';
import { inspectSource, type SourceInfo } from '../../postgres/source.ts';
import { timelineEnd } from '../../postgres/timeline.ts';
import { withPublished } from './published.ts';

export interface Judged {
  readonly source: SourceInfo;
  readonly observed: ObservedSource;
  readonly decision: SourceDecision;
}

export interface JudgeContext {
  readonly mapping: Mapping;
  readonly sql: Sql;
  readonly databaseUrl: string;
  readonly client: KafkaClient;
}

/**
 * `slot` was looked at before `record` was read, and both before the call: a publisher at work moves them, the record
 * first. `topics`: those of the data topics that exist.
 */
export async function judgeSource(
  { mapping, sql, databaseUrl, client }: JudgeContext,
  record: SourceRecord | null,
  slot: ObservedSource['slot'],
  topics: readonly string[],
  signal: AbortSignal,
): Promise<Judged> {
  const source = await inspectSource(sql, signal);
  const timelines = { past: record?.timeline ?? source.timeline, present: source.timeline };
  const recordedTimelineEnd = await timelineEnd(databaseUrl, timelines, signal);
  const recorded = await withPublished(recordedSource(record), topics, client, signal);
  const { publication } = mapping.source;
  const published = await publishedTables(sql, { publication, tables: mapping.tables }, signal);
  const observed = { ...source, published, recordedTimelineEnd, slot };
  return { source, observed, decision: decideSource(recorded, observed, topics.length > 0) };
}

export function recordedSource(record: SourceRecord | null): RecordedSource | null {
  if (record === null) return null;
  const { acknowledged, lastCommit } = record;
  return {
    ...record,
    acknowledged: acknowledged === null ? null : parseLsn(acknowledged),
    lastCommit: lastCommit === null ? null : { lsn: parseLsn(lastCommit.lsn), xid: lastCommit.xid },
  };
}
