/** A record that the broker would refuse for its size: what is written in its place says so, without the row (I12). */
import type { Mapping } from '../../core/mapping.ts';
import type { DataRecord } from '../../core/records.ts';
import { deadLetterRecord } from '../../kafka/dead-letters.ts';

export function oversized(record: DataRecord, bytes: number, mapping: Mapping): DataRecord {
  const { topic, key, position } = record;
  const limit = mapping.source.maxMessageBytes;
  const letter = deadLetterRecord(mapping.deadLetterTopic, {
    reason: {
      code: 'KAFKA_RECORD_TOO_LARGE',
      message: `The record has ${bytes} bytes; its topic takes ${limit}.`,
    },
    topic,
    key,
    position,
    size: bytes,
  });
  return { ...letter, position };
}
