/**
 * kafkajs's errors as ours, by error name, Kafka's error type and the system's error code; never by message text.
 * What Kafka itself calls retriable is retried; what is not recognised is fatal.
 */
import { AppError, type ErrorCode, type ErrorContext } from '../core/errors.ts';

const AUTH_TYPES = new Set([
  'SASL_AUTHENTICATION_FAILED',
  'UNSUPPORTED_SASL_MECHANISM',
  'ILLEGAL_SASL_STATE',
  'SECURITY_DISABLED',
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
]);

const TOPIC_TYPES = new Set([
  'UNKNOWN_TOPIC_OR_PARTITION',
  'INVALID_TOPIC_EXCEPTION',
  'INVALID_PARTITIONS',
  'INVALID_REPLICATION_FACTOR',
  'INVALID_CONFIG',
  'POLICY_VIOLATION',
]);

const TOO_LARGE_TYPES = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE']);

/** The broker no longer knows the producer, or where it was. */
const PRODUCER_TYPES = new Set([
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'UNKNOWN_PRODUCER_ID',
  'INVALID_PRODUCER_EPOCH',
]);

const UNREACHABLE_NAMES = new Set([
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
  'KafkaJSRequestTimeoutError',
  'KafkaJSBrokerNotFound',
  'KafkaJSNoBrokerAvailableError',
  'KafkaJSGroupCoordinatorNotFound',
  'KafkaJSMetadataNotLoaded',
  'KafkaJSLockTimeout',
  'KafkaJSTimeout',
]);

/** What Node says when the two sides cannot agree on TLS: certificates and protocol, not the network. */
const TLS_CODE = /^(ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|EPROTO$|HOSTNAME_MISMATCH$)/;

/** `what` completes "could not …": an infinitive with its object. Our own errors pass as they are. */
export function wrapKafka(error: unknown, what: string, context: ErrorContext = {}): AppError {
  if (error instanceof AppError) return error;
  const reason = reasonOf(error);
  const code = codeOf(reason);
  const label = reason.type ?? reason.systemCode ?? reason.name;
  return new AppError(code, `Kafka: could not ${what} (${label}).`, { cause: error, context });
}

interface Reason {
  readonly name: string;
  /** Kafka's own error type, if a broker answered. */
  readonly type?: string;
  /** Node's error code, if the network or TLS failed. */
  readonly systemCode?: string;
  readonly retriable: boolean;
}

/** Looks through kafkajs's wrappers ("number of retries exceeded", "non-retriable") and lists for the innermost error. */
function reasonOf(error: unknown): Reason {
  if (!(error instanceof Error)) return { name: typeof error, retriable: false };
  const { cause, type, code, retriable, errors } = error as Error & {
    type?: unknown;
    code?: unknown;
    retriable?: unknown;
    errors?: unknown;
  };
  if (typeof type === 'string') return { name: error.name, type, retriable: retriable === true };
  if (cause instanceof Error) return reasonOf(cause);
  if (Array.isArray(errors) && errors.length > 0) return reasonOf(errors[0]);
  const base = { name: error.name, retriable: false };
  return typeof code === 'string' ? { ...base, systemCode: code } : base;
}

function codeOf({ name, type, systemCode, retriable }: Reason): ErrorCode {
  if (type !== undefined) {
    if (AUTH_TYPES.has(type)) return 'KAFKA_AUTH';
    if (TOPIC_TYPES.has(type)) return 'KAFKA_TOPIC';
    if (TOO_LARGE_TYPES.has(type)) return 'KAFKA_RECORD_TOO_LARGE';
    if (PRODUCER_TYPES.has(type)) return 'KAFKA_PRODUCER_LOST';
    return retriable ? 'KAFKA_UNREACHABLE' : 'KAFKA_FAILED';
  }
  if (name === 'KafkaJSSASLAuthenticationError') return 'KAFKA_AUTH';
  if (name === 'KafkaJSTopicMetadataNotLoaded') return 'KAFKA_TOPIC';
  if (!UNREACHABLE_NAMES.has(name)) return 'KAFKA_FAILED';
  return systemCode !== undefined && TLS_CODE.test(systemCode) ? 'KAFKA_AUTH' : 'KAFKA_UNREACHABLE';
}
