/**
 * The way to Kafka. kafkajs 2.2.4 carries connections, TLS, SASL, metadata, administration and the requests of the group
 * protocol. What every record passes through (record batches, produce, fetch) is our own, in `record-batch.ts` and
 * `wire.ts`: kafkajs's producer costs five times the CPU per record; its consumer cannot read a topic without joining a
 * group, resets out-of-range offsets silently, and fetches a batch that compaction has emptied again and again for ever.
 *
 * `admin()` is kafkajs's administration client; `connect()` opens a cluster connection of one's own.
 *
 * On failure: errors are kafkajs's; the callers in this folder wrap them once, with `wrapKafka`. kafkajs's own retries
 * heed no AbortSignal and are therefore kept short: who can wait long does so itself.
 */
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import kafkajs, { type Admin, type ISocketFactory, type KafkaConfig, type SASLOptions } from 'kafkajs';
import type { Log } from '../runtime/log.ts';
import type { Cluster } from './cluster.ts';
import { ClusterClass, type RequestQueue, RequestQueueClass } from './kafkajs.ts';

export interface KafkaOptions {
  readonly brokers: readonly string[];
  readonly clientId: string;
  readonly ssl?: boolean | ConnectionOptions;
  readonly sasl?: SASLOptions;
}

export interface KafkaClient {
  /** Not yet connected. */
  readonly admin: () => Admin;
  readonly connect: (options?: ConnectOptions) => Promise<Connection>;
}

export interface ConnectOptions {
  /** Topics whose metadata is loaded at once. */
  readonly topics?: readonly string[];
  /** How long a request may go unanswered. */
  readonly requestTimeoutMs?: number;
  /** Once it is aborted, a connection that is not made yet is given up. */
  readonly signal?: AbortSignal;
}

export interface Connection {
  readonly cluster: Cluster;
  /** Lets pending requests end, for a second at most. */
  readonly close: () => Promise<void>;
  /** Waits for an answer. Once `signal` is aborted Kafka has a second left, then the connection is given up. */
  readonly promptly: <T>(answer: Promise<T>, signal: AbortSignal) => Promise<T>;
}

const CONNECT_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 30_000;
const GOODBYE_MS = 1_000;
const METADATA_MAX_AGE_MS = 60_000;
const METADATA_SPREAD_MS = 2_000;
const METADATA_RETRY_MS = 100;
const KEEP_ALIVE_MS = 60_000;
const PENDING_CHECK_MS = 10;
const ADMIN_RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5 };
const CONNECTION_RETRY = { initialRetryTime: 100, maxRetryTime: 200, retries: 1 };

export function createKafka(options: KafkaOptions, log: Log): KafkaClient {
  quietenIdleConnections();
  const { Kafka, logLevel } = kafkajs;
  const tls = options.ssl === true ? {} : options.ssl;
  const openSocket = socketFactory(tls === false ? undefined : tls);
  const config = {
    brokers: [...options.brokers],
    clientId: options.clientId,
    ...(options.sasl === undefined ? {} : { sasl: options.sasl }),
    connectionTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    enforceRequestTimeout: true,
    retry: ADMIN_RETRY,
    socketFactory: openSocket,
    logLevel: logLevel.INFO,
    // Every failure also reaches the caller as an error, and is logged there once, as a change of state. Only these
    // fields: others may quote requests.
    logCreator: () => (entry) => {
      const { message, broker } = entry.log as { message: string; broker?: string };
      log.debug({ component: `kafkajs.${entry.namespace}`, broker }, message);
    },
  } satisfies KafkaConfig;
  const kafka = new Kafka(config);

  async function connect(wanted: ConnectOptions = {}): Promise<Connection> {
    const sockets = new Set<Socket>();
    const cluster = new ClusterClass({
      ...config,
      logger: kafka.logger(),
      requestTimeout: wanted.requestTimeoutMs ?? REQUEST_TIMEOUT_MS,
      metadataMaxAge: METADATA_MAX_AGE_MS,
      allowAutoTopicCreation: false,
      retry: CONNECTION_RETRY,
      socketFactory: (args) => {
        const socket = openSocket(args);
        sockets.add(socket);
        socket.once('close', () => sockets.delete(socket));
        if (wanted.signal?.aborted === true) destroy();
        return socket;
      },
    });

    function destroy(): void {
      for (const socket of sockets) socket.destroy(new Error('connection given up'));
    }

    /** kafkajs waits for its pending requests before it closes: joining a group can take a minute. */
    async function close(): Promise<void> {
      const timer = setTimeout(destroy, GOODBYE_MS);
      await cluster.disconnect();
      clearTimeout(timer);
    }

    async function promptly<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
      let timer: NodeJS.Timeout | undefined;
      const hurry = (): void => {
        timer = setTimeout(destroy, GOODBYE_MS);
      };
      if (signal.aborted) hurry();
      else signal.addEventListener('abort', hurry);
      try {
        return await answer;
      } finally {
        signal.removeEventListener('abort', hurry);
        clearTimeout(timer);
      }
    }

    wanted.signal?.addEventListener('abort', destroy);
    try {
      await cluster.connect();
      await loadMetadata(cluster, wanted.topics ?? []);
      return { cluster, close, promptly };
    } catch (error) {
      await close();
      throw error;
    } finally {
      wanted.signal?.removeEventListener('abort', destroy);
    }
  }

  return { admin: () => kafka.admin(), connect };
}

/** kafkajs's own, with Nagle's algorithm off: pipelined small requests would wait for the delayed ACK (40 ms). */
function socketFactory(tls: ConnectionOptions | undefined): ISocketFactory {
  return ({ host, port, onConnect }) => {
    const socket =
      tls === undefined
        ? connectTcp({ host, port }, onConnect)
        : connectTls({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}), ...tls }, onConnect);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    return socket;
  };
}

/** News of a topic that was just created, or of all topics to a broker that just started, takes a moment to spread. */
async function loadMetadata(cluster: Cluster, topics: readonly string[]): Promise<void> {
  for (const giveUpAt = Date.now() + METADATA_SPREAD_MS; ;) {
    try {
      await cluster.addMultipleTargetTopics(topics);
      return;
    } catch (error) {
      const { type } = error as { type?: unknown };
      if (type !== 'UNKNOWN_TOPIC_OR_PARTITION' || Date.now() > giveUpAt) throw error;
      await delay(METADATA_RETRY_MS);
    }
  }
}

/**
 * kafkajs re-arms a 1 ms timer for ever on every idle connection (890 wake-ups a second, 4 % of a core). A check is
 * needed only while requests wait: for a broker's throttling to end, or for another request's answer.
 */
function quietenIdleConnections(): void {
  const { prototype } = RequestQueueClass;
  prototype.scheduleCheckPendingRequests = function (this: RequestQueue): void {
    if (this.pending.length === 0 || this.throttleCheckTimeoutId !== null) return;
    const waitMs = Math.max(this.throttledUntil - Date.now(), PENDING_CHECK_MS);
    this.throttleCheckTimeoutId = setTimeout(() => {
      this.throttleCheckTimeoutId = null;
      this.checkPendingRequests();
    }, waitMs);
  };
}
