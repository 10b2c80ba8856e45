/** What is kept of a record that cannot be applied: where it stood, its key, and why; redriven by asking for its key. */
import type { AppError } from '../../core/errors.ts';
import type { TableMapping } from '../../core/mapping.ts';
import type { DeadLetter } from '../../kafka/dead-letters.ts';
import type { IncomingRecord } from '../../kafka/subscriber.ts';

export function deadLetterOf(
  table: TableMapping,
  partition: number,
  record: IncomingRecord,
  error: AppError,
): Omit<DeadLetter, 'at'> {
  const { key, value, offset } = record;
  const size = (key?.length ?? 0) + (value?.length ?? 0);
  return {
    reason: { code: error.code, message: error.message },
    topic: table.topic,
    partition,
    offset: offset.toString(),
    key: key === null ? null : Buffer.from(key).toString('utf8'),
    size,
    ...(value !== null ? { value: Buffer.from(value).toString('utf8') } : {}),
  };
}
