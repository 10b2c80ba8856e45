/** Records that are not applied, made durable elsewhere: as dead letters (I12), or as requests for their keys (I2). */
import type { Mapping, TableMapping } from '../../core/mapping.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import { createDeadLetters } from '../../kafka/dead-letters.ts';
import { requestRepublish } from '../../postgres/messages.ts';
import type { Sql } from '../../postgres/client.ts';
import type { Log } from '../../runtime/log.ts';
import { deadLetterOf } from './dead-letters.ts';
import type { PartitionContext } from './partition.ts';
import { requestsFor } from './requests.ts';

export interface AsideContext {
  readonly mapping: Mapping;
  readonly sql: Sql;
  readonly client: KafkaClient;
  readonly log: Log;
  /** Named in the requests. */
  readonly runId: string;
}

type OfPartition = Pick<PartitionContext, 'deadLetter' | 'requestRepublish' | 'warnUnlisted'>;

export interface Aside {
  readonly of: (table: TableMapping, partition: number) => OfPartition;
  readonly close: () => Promise<void>;
}

export async function openAside(
  { mapping, sql, client, log, runId }: AsideContext,
  signal: AbortSignal,
): Promise<Aside> {
  const deadLetters = await createDeadLetters(client, mapping.deadLetterTopic, log);
  const warned = new Set<string>();
  return {
    of: (table, partition) => ({
      async deadLetter(record, error) {
        await deadLetters.send([deadLetterOf(table, partition, record, error)]);
        log.error(
          { error, topic: table.topic, partition, offset: record.offset.toString() },
          'a record cannot be applied: dead letter',
        );
      },
      async requestRepublish(records, reason) {
        for (const request of requestsFor(table, records, runId, reason)) {
          await requestRepublish(sql, request, signal);
        }
      },
      warnUnlisted(column, count) {
        if (warned.has(`${table.table}.${column}`)) return;
        warned.add(`${table.table}.${column}`);
        log.warn({ table: table.table, column, count }, 'the mapping does not list a value of this column');
      },
    }),
    close: () => deadLetters.close(),
  };
}
