/**
 * How far the topics go. The control topic may know of less: records leave as they arrive, and a publisher that dies
 * in the middle of a transaction, or before it could record one, has published more than it has recorded. All of it must
 * come again from the slot, or the topics hold what the source does not (I6).
 */
import { commitOf } from '../../core/envelope.ts';
import type { RecordedSource } from '../../core/source-identity.ts';
import type { KafkaClient } from '../../kafka/client.ts';
import { readLast } from '../../kafka/read-topic.ts';

/** `recorded`, its last commit the last one of its epoch that has a record in any of the topics. */
export async function withPublished(
  recorded: RecordedSource | null,
  topics: readonly string[],
  client: KafkaClient,
  signal: AbortSignal,
): Promise<RecordedSource | null> {
  if (recorded === null) return null;
  let { lastCommit } = recorded;
  for (const topic of topics) {
    for (const { value } of await readLast(client, topic, signal)) {
      const commit = commitOf(value);
      if (commit?.epoch !== recorded.epoch) continue;
      if (lastCommit === null || commit.lsn > lastCommit.lsn) lastCommit = commit;
    }
  }
  return { ...recorded, lastCommit };
}
