/**
 * The projector (I1): the only writer of the replicated graph.
 *
 *   schema, graph identity, plans, source, progress rows ─▶ join the group of this graph ─▶ per partition: take over ─▶ apply
 *
 * Guarantee: effects happen once and in order per partition, whoever else runs (I8); nothing older wins and nothing
 * deleted comes back (I7). The group's name derives from the graph's identity, so projectors of two graphs never share
 * partitions, and what a graph has is read from the graph.
 * On failure: what may pass is tried again for as long as it takes; a topic that no longer fits the graph ends the
 * service as a gap (I6).
 */
import { randomUUID } from 'node:crypto';
import type { Mapping, TableMapping } from '../../core/mapping.ts';
import type { ReaderState } from '../../core/partition-reader.ts';
import { createKafka, type KafkaClient, type KafkaOptions } from '../../kafka/client.ts';
import { unfinishedRecovery } from '../../kafka/control.ts';
import { subscribe } from '../../kafka/subscriber.ts';
import { watchTopics } from '../../kafka/topic-ids.ts';
import { connectNeo4j, type Graph, type Neo4jOptions } from '../../neo4j/client.ts';
import { consumerGroup, graphIdentity } from '../../neo4j/graph-id.ts';
import { planStatements } from '../../neo4j/plans.ts';
import { takeOver } from '../../neo4j/progress.ts';
import { ensureSchema } from '../../neo4j/schema.ts';
import { createWriter } from '../../neo4j/writer.ts';
import { type Database, openDatabase } from '../../postgres/client.ts';
import type { Log } from '../../runtime/log.ts';
import { keepRunning } from '../../runtime/retry.ts';
import { type Service, together } from '../../runtime/service.ts';
import { nameOfSource, requireSameSource } from '../same-source.ts';
import { openAside } from './aside.ts';
import { runPartition } from './partition.ts';
import { purgeNowAndThen } from './purge.ts';
import { advance, type Watched, watchProgress } from './watch-progress.ts';
import { madeByPublisher, prepareProgress } from './topics.ts';

export interface ProjectOptions {
  readonly mapping: Mapping;
  readonly databaseUrl: string;
  readonly kafka: KafkaOptions;
  readonly neo4j: Neo4jOptions;
  readonly log: Log;
  /** While it is true the graph lacks most of what comes: see the writer. */
  readonly filling?: () => boolean;
  readonly later?: Later;
}

/** Tables that others are to be ahead of: their partitions are ours and fetched, as far as their lanes reach, and wait. */
export interface Later {
  /** Their statements are planned by whoever lets them wait. */
  readonly tables: ReadonlySet<TableMapping>;
  /** Resolves once their turn has come, or the partition that waits is given up. */
  readonly turn: (abandoned: AbortSignal) => Promise<void>;
}

interface Context extends ProjectOptions {
  readonly sql: Database;
  readonly client: KafkaClient;
  readonly graph: Graph;
}

export function projectService(options: ProjectOptions): Service {
  const { log } = options;
  return {
    async run(signal) {
      const sql = openDatabase(options.databaseUrl);
      const client = createKafka(options.kafka, log);
      const graph = connectNeo4j(options.neo4j, log);
      try {
        await keepRunning(() => session({ ...options, sql, client, graph }, signal), {
          signal,
          onRetry(error, failures, delayMs) {
            log.warn({ error, failures, delayMs }, 'the projector lost its session; beginning another');
          },
        });
      } finally {
        await graph.close();
        await sql.close();
      }
    },
  };
}

async function session(context: Context, signal: AbortSignal): Promise<void> {
  const { mapping, client, graph, log, filling = () => false, later } = context;
  await ensureSchema(graph, mapping, signal);
  const identity = await graphIdentity(graph, mapping);
  const atOnce = mapping.tables.filter((table) => later?.tables.has(table) !== true);
  await planStatements(graph, { ...mapping, tables: atOnce }, signal, { filling: filling() });
  const topics = await madeByPublisher(mapping, client, log, signal);
  const { source, generations } = topics;
  const replaced = unfinishedRecovery(topics)?.previousSources ?? [];
  if (source !== null) await requireSameSource(graph, mapping, source, { claim: true, replaced });
  await prepareProgress(graph, mapping, topics, log);

  const owner = randomUUID();
  log.info({ owner, graph: identity.uuid }, 'projecting');
  const writer = createWriter(graph, mapping, { owner, filling });
  const aside = await openAside({ ...context, runId: `projector-${owner}` }, signal);
  const byTopic = new Map(mapping.tables.map((table) => [table.topic, table]));
  const owned = new Set<string>();
  const watched: Watched = {
    uuid: identity.uuid,
    source: source === null ? null : nameOfSource(source),
    generations,
    owner,
    owned,
    reached: new Map(),
  };
  const takenOver = new Map<string, { next: bigint; reader: ReaderState }>();

  const projecting = (stop: AbortSignal) =>
    subscribe(
      client,
      {
        groupId: consumerGroup(mapping.sink.consumerGroupPrefix, identity),
        topics: [...generations.keys()],
        maxRecordsPerBatch: mapping.sink.batch.maxRecords,
        maxBytesPerBatch: mapping.sink.batch.maxBytes,
      },
      {
        async onAssigned({ topic, partition }) {
          const generation = generations.get(topic) ?? '';
          const taken = await takeOver(graph, mapping, { topic, partition, owner, generation });
          takenOver.set(`${topic}-${partition}`, { next: taken.next, reader: taken });
          return taken.next;
        },
        async runPartition(lane, { topic, partition }, abandoned) {
          const name = `${topic}-${partition}`;
          const table = byTopic.get(topic);
          const taken = takenOver.get(name);
          if (table === undefined || taken === undefined) throw new RangeError(`${name} was not assigned`);
          const commit = (next: bigint) => {
            advance(watched.reached, name, next);
            lane.commit(next);
          };
          const own = { table, partition, writer, log, commit, onOutcome: () => undefined };
          owned.add(name);
          try {
            if (later?.tables.has(table) === true) await later.turn(abandoned);
            await runPartition(lane, taken, { ...own, ...aside.of(table, partition) }, abandoned);
          } finally {
            owned.delete(name);
          }
        },
      },
      log,
      stop,
    );
  try {
    await together([
      { run: projecting },
      { run: (stop) => purgeNowAndThen(graph, mapping, log, stop) },
      { run: (stop) => watchTopics(client, generations, stop) },
      { run: (stop) => watchProgress(graph, mapping, watched, stop) },
    ]).run(signal);
  } finally {
    await aside.close();
  }
}
