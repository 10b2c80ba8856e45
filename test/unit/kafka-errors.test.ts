import { createRequire } from 'node:module';
import type * as KafkaJs from 'kafkajs';
import { expect, it } from 'vitest';
import { AppError } from '../../src/core/errors.ts';
import { wrapKafka } from '../../src/kafka/errors.ts';
import { protocolError } from '../../src/kafka/wire.ts';

const kafkajs = createRequire(import.meta.url)('kafkajs') as typeof KafkaJs;

// Its type takes no message, its code needs one.
const SaslError = kafkajs.KafkaJSSASLAuthenticationError as new (message: string) => Error;

function connectionError(code?: string): Error {
  return new kafkajs.KafkaJSConnectionError('refused', code === undefined ? {} : { code });
}

function retriesExceeded(cause: Error): Error {
  return new kafkajs.KafkaJSNumberOfRetriesExceeded(cause, { retryCount: 5, retryTime: 1 });
}

it.each([
  ['a refused connection', connectionError('ECONNREFUSED'), 'KAFKA_UNREACHABLE', 'ECONNREFUSED'],
  ['a connection that timed out', connectionError(), 'KAFKA_UNREACHABLE', 'KafkaJSConnectionError'],
  ['retries that ran out', retriesExceeded(connectionError('ETIMEDOUT')), 'KAFKA_UNREACHABLE', 'ETIMEDOUT'],
  ['a foreign certificate', connectionError('DEPTH_ZERO_SELF_SIGNED_CERT'), 'KAFKA_AUTH', 'DEPTH_ZERO'],
  ['TLS spoken to plain text', connectionError('ERR_SSL_WRONG_VERSION_NUMBER'), 'KAFKA_AUTH', 'ERR_SSL'],
  ['a wrong password', new SaslError('no'), 'KAFKA_AUTH', 'KafkaJSSASL'],
  ['a missing right (29)', protocolError(29), 'KAFKA_AUTH', 'TOPIC_AUTHORIZATION_FAILED'],
  ['a missing topic (3)', protocolError(3), 'KAFKA_TOPIC', 'UNKNOWN_TOPIC_OR_PARTITION'],
  ['too few brokers (38)', protocolError(38), 'KAFKA_TOPIC', 'INVALID_REPLICATION_FACTOR'],
  [
    'a list of errors',
    new kafkajs.KafkaJSAggregateError('many', [protocolError(38)]),
    'KAFKA_TOPIC',
    'INVALID_',
  ],
  ['a batch that is too large (10)', protocolError(10), 'KAFKA_RECORD_TOO_LARGE', 'MESSAGE_TOO_LARGE'],
  ['a moved leader (6)', protocolError(6), 'KAFKA_UNREACHABLE', 'NOT_LEADER_FOR_PARTITION'],
  ['too few replicas (19)', protocolError(19), 'KAFKA_UNREACHABLE', 'NOT_ENOUGH_REPLICAS'],
  ['lost order (45)', protocolError(45), 'KAFKA_PRODUCER_LOST', 'OUT_OF_ORDER_SEQUENCE_NUMBER'],
  ['a record that the broker does not take (87)', protocolError(87), 'KAFKA_FAILED', 'INVALID_RECORD'],
  ['a code that kafkajs does not know', protocolError(120), 'KAFKA_FAILED', 'KAFKAJS_UNKNOWN_ERROR_CODE'],
  ['a mistake of ours', new TypeError('secret value'), 'KAFKA_FAILED', 'TypeError'],
  ['something thrown that is no error', 'secret value', 'KAFKA_FAILED', 'string'],
])('%s', (_, error, code, label) => {
  const wrapped = wrapKafka(error, 'do it', { topic: 't' });
  expect(wrapped.code).toBe(code);
  expect(wrapped.message).toContain(`could not do it (${label}`);
  expect(wrapped.message).not.toContain('secret');
  expect(wrapped.context).toEqual({ topic: 't' });
});

it('our own errors pass as they are', () => {
  const own = new AppError('PROGRESS_GAP', 'A gap.');
  expect(wrapKafka(own, 'do it')).toBe(own);
});
