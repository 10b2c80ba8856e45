/**
 * The way of record batches to their leaders: up to five groups of batches ("flights") on the way at once, each with
 * its sequence numbers, landed when all in-sync replicas have it.
 *
 * Guarantee: per partition the log has the batches once and in the order of `launch`, or all is given up. The broker
 * refuses a batch that it has already or that overtook another. A flight that failed is sent again byte for byte, one
 * flight at a time, before newer ones.
 *
 * On failure: see `publisher.ts`; after 30 s, or at once where Kafka does not call the error retriable, all is given up;
 * so it is once an answer shows that records which were answered before are lost.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../core/errors.ts';
import type { WrittenEnds } from '../core/topic-ends.ts';
import type { Log } from '../runtime/log.ts';
import { backoffMs } from '../runtime/retry.ts';
import type { Connection, KafkaClient } from './client.ts';
import type { Broker, Cluster } from './cluster.ts';
import { wrapKafka } from './errors.ts';
import { recordsLost } from './lost-records.ts';
import {
  DUPLICATE_SEQUENCE_NUMBER,
  NONE,
  type ProducePartition,
  type ProduceResult,
  produceRequest,
  protocolError,
  UNKNOWN_TOPIC_OR_PARTITION,
} from './wire.ts';

export interface FlightOptions {
  readonly topics: readonly string[];
  /** 1 to 5: the broker remembers five batches of a producer and partition. */
  readonly maxInFlight: number;
  readonly retryForMs: number;
  readonly signal: AbortSignal;
  /** Told of every answer, and asked whether it fits those before. */
  readonly written: WrittenEnds;
}

const REPLICAS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 15_000;
const PRODUCER_ID_TIMEOUT_MS = 60_000;
const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 1_000;

class Flight {
  readonly landed: Promise<void>;
  readonly turn: number;
  outstanding: readonly ProducePartition[];
  /** Set once the first attempt has ended badly. */
  failure: unknown = null;
  firstAttempt: Promise<void> = Promise.resolve();
  land: () => void = () => undefined;
  crash: (error: AppError) => void = () => undefined;

  constructor(turn: number, batches: readonly ProducePartition[]) {
    this.turn = turn;
    this.outstanding = batches;
    this.landed = new Promise((resolve, reject) => {
      this.land = resolve;
      this.crash = reject;
    });
    // Whoever launched it may have failed before it could wait.
    this.landed.catch(() => undefined);
  }
}

export class Flights {
  readonly #kafka: KafkaClient;
  readonly #options: FlightOptions;
  readonly #log: Log;
  #connection: Connection | null = null;
  /** Not landed yet, oldest first. */
  #flights: Flight[] = [];
  #launched = 0;
  #recovery: Promise<void> | null = null;
  #spent: AppError | null = null;

  constructor(kafka: KafkaClient, options: FlightOptions, log: Log) {
    this.#kafka = kafka;
    this.#options = options;
    this.#log = log;
  }

  /** The producer's identity, and the number of partitions of each topic. */
  async open(): Promise<{ producerId: bigint; producerEpoch: number; partitions: Map<string, number> }> {
    try {
      const { cluster } = await this.#connect();
      const producer = await this.#initProducer(cluster);
      const counts = this.#options.topics.map(
        (topic) => [topic, cluster.findTopicPartitionMetadata(topic).length] as const,
      );
      return {
        producerId: BigInt(producer.producerId),
        producerEpoch: producer.producerEpoch,
        partitions: new Map(counts),
      };
    } catch (error) {
      await this.close();
      throw wrapKafka(error, 'prepare publishing');
    }
  }

  /** Not to be called again before it has returned: what it waits for is a free place, and to be on the way in order. */
  async launch(batches: readonly ProducePartition[]): Promise<{ readonly landed: Promise<void> }> {
    const flight = new Flight(++this.#launched, batches);
    for (;;) {
      if (this.#spent !== null) throw this.#spent;
      const [oldest] = this.#flights;
      if (this.#recovery !== null) await this.#recovery;
      else if (oldest !== undefined && this.#flights.length >= this.#options.maxInFlight) {
        await oldest.landed;
      } else break;
    }
    this.#flights.push(flight);
    const routed = this.#route(flight);
    flight.firstAttempt = routed
      .then((route) => this.#attempt(flight, route))
      .catch((error: unknown) => {
        flight.failure = error;
        this.#recovery ??= this.#recover();
      });
    await routed.catch(() => undefined);
    return flight;
  }

  async #initProducer(cluster: Cluster): ReturnType<Broker['initProducerId']> {
    const giveUpAt = Date.now() + this.#options.retryForMs;
    const controller = await cluster.findControllerBroker();
    for (;;) {
      try {
        return await controller.initProducerId({ transactionTimeout: PRODUCER_ID_TIMEOUT_MS });
      } catch (error) {
        // A broker that has just started is there, but does not give out producer ids yet.
        if ((error as { type?: unknown }).type !== 'GROUP_LOAD_IN_PROGRESS' || Date.now() > giveUpAt)
          throw error;
        await delay(FIRST_RETRY_MS, undefined, { signal: this.#options.signal });
      }
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#flights.map((flight) => flight.landed));
    this.#spent ??= new AppError('KAFKA_FAILED', 'The publisher is closed.');
    await this.#disconnect();
  }

  /** The leader of each batch, connected. */
  async #route(flight: Flight): Promise<Map<Broker, ProducePartition[]>> {
    const { cluster } = this.#connection ?? (await this.#connect());
    const route = new Map<Broker, ProducePartition[]>();
    for (const batch of flight.outstanding) {
      const [nodeId] = Object.keys(cluster.findLeaderForPartitions(batch.topic, [batch.partition]));
      if (nodeId === undefined) throw protocolError(UNKNOWN_TOPIC_OR_PARTITION);
      const broker = await cluster.findBroker({ nodeId });
      const own = route.get(broker);
      if (own === undefined) route.set(broker, [batch]);
      else own.push(batch);
    }
    return route;
  }

  async #attempt(flight: Flight, route: Map<Broker, ProducePartition[]>): Promise<void> {
    const answers = await Promise.allSettled(
      [...route].map(([broker, batches]) =>
        broker.connectionPool.send(produceRequest(batches, REPLICAS_TIMEOUT_MS)),
      ),
    );
    let failure: Error | null = null;
    for (const answer of answers) {
      if (answer.status === 'rejected') failure ??= answer.reason as Error;
      else for (const result of answer.value.results) failure ??= this.#settle(flight, result);
    }
    if (failure !== null) throw failure;
    this.#flights = this.#flights.filter((other) => other !== flight);
    flight.land();
  }

  /**
   * Starts when a flight has failed; newer ones may have failed because of it (out of order), so its error is the one
   * that counts. Waits until nothing is on the way any more, then sends one flight at a time.
   */
  async #recover(): Promise<void> {
    await Promise.all(this.#flights.map((flight) => flight.firstAttempt));
    const { retryForMs, signal } = this.#options;
    const giveUpAt = Date.now() + retryForMs;
    let failure = wrapKafka(this.#flights[0]?.failure, 'publish');
    this.#log.warn({ error: failure }, 'Kafka did not take what was published; sending it again');
    try {
      for (let attempt = 1; ; attempt++) {
        if (!isPassing(failure) || Date.now() > giveUpAt) throw failure;
        await delay(backoffMs(attempt, FIRST_RETRY_MS, LAST_RETRY_MS, Math.random()), undefined, { signal });
        try {
          await this.#disconnect();
          for (const flight of [...this.#flights]) await this.#attempt(flight, await this.#route(flight));
          this.#log.warn({ attempt }, 'Kafka takes what is published again');
          return;
        } catch (error) {
          failure = wrapKafka(error, 'publish');
        }
      }
    } catch {
      this.#spent = failure;
      for (const flight of this.#flights) flight.crash(failure);
      this.#flights = [];
      await this.#disconnect();
    } finally {
      this.#recovery = null;
    }
  }

  /**
   * Takes an acknowledged batch off the flight; answers the error of one that is not. A duplicate is one that was
   * acknowledged before, but so long ago that the broker cannot say where it is.
   */
  #settle(flight: Flight, { topic, partition, errorCode, baseOffset }: ProduceResult): Error | null {
    if (errorCode !== NONE && errorCode !== DUPLICATE_SEQUENCE_NUMBER) return protocolError(errorCode);
    const settled = flight.outstanding.find((b) => b.topic === topic && b.partition === partition);
    if (settled !== undefined && errorCode === NONE) {
      const { turn } = flight;
      const { records } = settled;
      const lost = this.#options.written.answered({ topic, partition, turn, offset: baseOffset, records });
      if (lost !== null) return recordsLost(lost);
    }
    flight.outstanding = flight.outstanding.filter((batch) => batch !== settled);
    return null;
  }

  async #connect(): Promise<Connection> {
    const { topics } = this.#options;
    this.#connection = await this.#kafka.connect({ topics, requestTimeoutMs: REQUEST_TIMEOUT_MS });
    return this.#connection;
  }

  async #disconnect(): Promise<void> {
    const connection = this.#connection;
    this.#connection = null;
    await connection?.close();
  }
}

/** A topic that existed a moment ago may be unknown to a broker that just started. */
function isPassing(error: AppError): boolean {
  return error.code === 'KAFKA_UNREACHABLE' || error.code === 'KAFKA_TOPIC';
}
