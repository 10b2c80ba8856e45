/** `graph wait` and `graph status`: questions that are answered on stdout and by the exit code. */
import type { PartitionRange } from '../kafka/offsets.ts';
import { createKafka, type KafkaClient } from '../kafka/client.ts';
import { type ControlState, readControlIfAny, unfinishedRecovery } from '../kafka/control.ts';
import { readDeadLetters } from '../kafka/dead-letters.ts';
import { generationsOf } from '../kafka/topic-ids.ts';
import { partitionRanges, withAdmin } from '../kafka/topics.ts';
import { connectNeo4j } from '../neo4j/client.ts';
import { graphUuid } from '../neo4j/graph-id.ts';
import { proofMark } from '../neo4j/proof-mark.ts';
import { readProgress } from '../neo4j/progress.ts';
import { readRebuild } from '../neo4j/rebuild-mark.ts';
import { readReplay } from '../neo4j/replay-progress.ts';
import { formatStatus, readStatus } from '../ops/status.ts';
import { projectorAtWork } from '../pipelines/at-work.ts';
import { findGap } from '../pipelines/recover/gap.ts';
import { requireOwnGraph } from '../pipelines/same-source.ts';
import { waitForGraph, type WaitSources, waitUntilLoaded } from '../pipelines/wait.ts';
import { openDatabase } from '../postgres/client.ts';
import { inspectSlot } from '../postgres/slot.ts';
import { inspectSource } from '../postgres/source.ts';
import { enabledGraphContext, type GraphContext } from './graph-context.ts';

const CONTROL_TIMEOUT_MS = 10_000;
export const SERVERS = ['DATABASE_URL', 'KAFKA_BROKERS', 'NEO4J_URI'] as const;

/** Exit 0 once the graph has everything committed before the call; throws TIMED_OUT with how far it is. */
export async function runWait(timeoutMs: number): Promise<void> {
  await waitUntilCurrent(enabledGraphContext('wait', SERVERS), timeoutMs);
}

/** Resolves once the graph has everything committed before the call. */
export async function waitUntilCurrent(context: GraphContext, timeoutMs: number): Promise<void> {
  const { signal } = new AbortController();
  const deadline = performance.now() + timeoutMs;
  await withServers(context, async (servers) => {
    await requireOwnGraph(servers, context.mapping);
    const sources = waitSources(servers, context);
    await waitUntilLoaded(sources, timeoutMs, signal);
    await waitForGraph(sources, Math.max(1, deadline - performance.now()), signal);
  });
}

/** Exit 0 if everything is up and at work, else 1. */
export async function runStatus(json: boolean): Promise<void> {
  const context = enabledGraphContext('status', SERVERS);
  const { mapping, databaseUrl } = context;
  const status = await withServers(context, ({ sql, client, graph }) =>
    readStatus(
      {
        mapping,
        source: async () => ({
          info: await inspectSource(sql),
          slot: await inspectSlot(sql, mapping.source.slot),
        }),
        control: () => controlOf(client, mapping),
        topics: async () => ({
          ends: await topicEnds(client, context),
          deadLetters: (
            await readDeadLetters(client, mapping.deadLetterTopic, AbortSignal.timeout(CONTROL_TIMEOUT_MS))
          ).length,
        }),
        graph: async () => ({
          progress: await readProgress(graph, mapping),
          uuid: await graphUuid(graph, mapping),
          proved: await proofMark(graph, mapping),
          rebuild: await readRebuild(graph, mapping),
          replay: await readReplay(graph, mapping),
        }),
        projector: () => projectorAtWork({ mapping, client, graph }),
        gaps: async () => {
          const signal = AbortSignal.timeout(CONTROL_TIMEOUT_MS);
          return (await findGap({ mapping, databaseUrl, sql, client, graph, replaces: null }, signal))
            .reasons;
        },
      },
      Date.now(),
    ),
  );
  process.stdout.write(json ? `${JSON.stringify(status, null, 2)}\n` : formatStatus(status));
  if (!status.healthy) process.exitCode = 1;
}

export interface Databases {
  readonly sql: ReturnType<typeof openDatabase>;
  readonly graph: ReturnType<typeof connectNeo4j>;
}

export interface Servers extends Databases {
  readonly client: KafkaClient;
}

export function withServers<T>(context: GraphContext, use: (servers: Servers) => Promise<T>): Promise<T> {
  const client = createKafka(context.kafka, context.log);
  return withDatabases(context, (databases) => use({ ...databases, client }));
}

export async function withDatabases<T>(
  { databaseUrl, neo4j, log }: GraphContext,
  use: (databases: Databases) => Promise<T>,
): Promise<T> {
  const sql = openDatabase(databaseUrl);
  const graph = connectNeo4j(neo4j, log);
  try {
    return await use({ sql, graph });
  } finally {
    await graph.close();
    await sql.close();
  }
}

export function waitSources({ sql, client, graph }: Servers, context: GraphContext): WaitSources {
  const { mapping } = context;
  return {
    mapping,
    sql,
    async recorded() {
      const state = await controlOf(client, mapping);
      if (state === null || state.source === null) return null;
      return {
        ...state.source,
        recovering: unfinishedRecovery(state)?.reasons ?? null,
        recovery: state.recovery,
        generations: generationsOf(
          state.topics,
          mapping.tables.map(({ topic }) => topic),
        ),
      };
    },
    topicEnds: () => topicEnds(client, context),
    progress: () => readProgress(graph, mapping),
    rebuild: () => readRebuild(graph, mapping),
  };
}

/** Null: there is no record of a publisher. */
export function controlOf(
  client: KafkaClient,
  { controlTopic }: GraphContext['mapping'],
): Promise<ControlState | null> {
  return readControlIfAny(client, controlTopic, AbortSignal.timeout(CONTROL_TIMEOUT_MS));
}

async function topicEnds(client: KafkaClient, { mapping }: GraphContext): Promise<PartitionRange[]> {
  const topics = mapping.tables.map((table) => table.topic);
  return withAdmin(client, (admin) => partitionRanges(admin, topics));
}
