import { createRequire } from 'node:module';
import fc from 'fast-check';
import type * as KafkaJs from 'kafkajs';
import { expect, it } from 'vitest';
import { partitionOf } from '../../src/kafka/partitioner.ts';

const { Partitioners } = createRequire(import.meta.url)('kafkajs') as typeof KafkaJs;

it('a key goes where every Kafka client puts it', () => {
  const theirs = Partitioners.DefaultPartitioner();
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.integer({ min: 1, max: 64 }),
      (bytes, count) => {
        const key = Buffer.from(bytes);
        const partitionMetadata = Array.from({ length: count }, (_, partitionId) => {
          return {
            partitionId,
            leader: 1,
            isr: [1],
            replicas: [1],
            partitionErrorCode: 0,
            offlineReplicas: [],
          };
        });
        const padded = Buffer.concat([key, Buffer.from('rest of the buffer')]);
        expect(partitionOf(padded, key.length, count)).toBe(
          theirs({ topic: 't', partitionMetadata, message: { key, value: null } }),
        );
      },
    ),
    { numRuns: 500 },
  );
});
