/**
 * The tables besides that of the entities, content and all (`--whole-graph`):
 *
 *   pages of rows ─▶ what bears their keys in the graph ┐
 *                                                       ├─▶ candidates ─▶ confirm ─▶ spool
 *   pages of keys in the graph ─▶ which have no row ────┘
 *   stubs that nothing holds ─▶ wait ─▶ those that are still that ─▶ spool
 *
 * The sides need no common order: a composite key is JSON text in the graph. A key with a row is looked at in the first
 * pass, one without in the second. Memory: a page, which is small if its rows are large, and what is confirmed at once.
 */
import { type Content, contentOfRow, verdictOfAll } from '../../core/content.ts';
import { type GraphKey, graphKey, type KeyParts, partsOf } from '../../core/keys.ts';
import type { Mapping, TableMapping } from '../../core/mapping.ts';
import type { WholeGraphDrift } from '../../core/whole-graph.ts';
import type { Graph } from '../../neo4j/client.ts';
import { graphContents, idleStubs } from '../../neo4j/contents.ts';
import type { Sql } from '../../postgres/client.ts';
import { type ContentRow, sourceContents } from '../../postgres/contents.ts';
import { existingKeys } from '../../postgres/key-pages.ts';
import { AT_ONCE, firstOf } from './at-once.ts';
import type { Spool } from './check.ts';
import {
  type Comparing,
  confirm,
  patienceOf,
  type Confirming,
  type Positioned,
  reached,
  type Versioned,
} from './confirm.ts';
import { pairsOf } from './scan.ts';
import type { Throttle } from './throttle.ts';

export interface WholeGraphSources {
  readonly mapping: Mapping;
  readonly tables: readonly TableMapping[];
  readonly sql: Sql;
  readonly graph: Graph;
}

export interface WholeGraphOptions extends WholeGraphSources, Confirming {
  readonly run: string;
  /** The most that a page has. */
  readonly batchSize: number;
  /** Between pages, if the scan is to be held back while replication lags. */
  readonly throttle: Throttle | null;
  /** After each page of rows, and of keys in the graph. */
  readonly onCompared?: (keys: number) => void;
}

/** Of a row. Ids are keys as JSON text. */
interface SourceRow extends Versioned {
  readonly content: Content;
}

/** Everything that bears a key. */
interface Bearers extends Positioned {
  readonly contents: readonly Content[];
}

export interface TableContents extends Comparing<SourceRow, Bearers> {
  readonly page: (
    after: string | null,
    limit: number,
    signal: AbortSignal,
  ) => Promise<{ readonly rows: readonly SourceRow[]; readonly last: boolean }>;
  /** `unnamed`: how many keys there were besides, that no request can name. */
  readonly keyPages: (
    limit: number,
  ) => AsyncGenerator<{ readonly ids: readonly string[]; readonly unnamed: number }>;
  readonly countUnkeyed: () => Promise<number>;
  /** Those of which there is no row. */
  readonly rowless: (ids: readonly string[], signal: AbortSignal) => Promise<readonly string[]>;
}

export async function checkWholeGraph(
  options: WholeGraphOptions,
  spool: Spool,
  signal: AbortSignal,
): Promise<void> {
  for (const table of options.tables) await checkTable(table, options, spool, signal);
  for (const table of options.mapping.tables) await checkStubs(table, options, spool);
}

async function checkTable(
  table: TableMapping,
  options: WholeGraphOptions,
  spool: Spool,
  signal: AbortSignal,
): Promise<void> {
  const { sql, graph, run, batchSize, throttle } = options;
  const contents = tableContents(sql, graph, table);
  const patience = patienceOf(options);
  let candidates: string[] = [];
  let ok = 0;
  let unnamed = await contents.countUnkeyed();

  async function settle(): Promise<void> {
    const confirming = { ...options, maxWaitMs: patience.ms };
    const ids = await firstOf(candidates, contents.source, signal);
    const confirmed = await confirm(ids, contents, confirming, signal);
    patience.note(confirmed.inTime);
    const drift = confirmed.drift.map(({ id, verdict }): [string[], WholeGraphDrift] => [
      [...keyOf(id)],
      verdict === 'missing' || verdict === 'not_deleted' ? verdict : 'different',
    ]);
    const unconfirmed = confirmed.unconfirmed.length;
    await spool.append({
      whole: run,
      table: table.table,
      ok: ok + confirmed.ok,
      drift,
      unconfirmed,
      unnamed,
    });
    candidates = candidates.slice(ids.length);
    ok = 0;
    unnamed = 0;
  }

  async function pageDone(keys: number): Promise<void> {
    options.onCompared?.(keys);
    while (candidates.length >= AT_ONCE) await settle();
    await throttle?.(signal);
    signal.throwIfAborted();
  }

  for (let after: string | null = null; ;) {
    const { rows, last }: Awaited<ReturnType<TableContents['page']>> = await contents.page(
      after,
      batchSize,
      signal,
    );
    const ids = rows.map(({ id }) => id);
    for (const pair of pairsOf(ids, rows, await contents.graph.byIds(ids))) {
      if (contents.verdict(pair.source, pair.graph) === 'ok') ok++;
      else candidates.push(pair.id);
    }
    await pageDone(ids.length);
    after = ids.at(-1) ?? null;
    if (last) break;
  }
  for await (const page of contents.keyPages(batchSize)) {
    candidates = candidates.concat(await contents.rowless(page.ids, signal));
    unnamed += page.unnamed;
    await pageDone(page.ids.length + page.unnamed);
  }
  do await settle();
  while (candidates.length > 0);
}

/** Their last relationship takes them along in its own transaction, and they come with their first. */
async function checkStubs(
  table: TableMapping,
  { graph, run, batchSize, caughtUp, maxWaitMs }: WholeGraphOptions,
  spool: Spool,
): Promise<void> {
  if (table.target.kind !== 'node') return;
  const stubs = idleStubs(graph, table.target);
  for await (const keys of stubs.keyPages(batchSize)) {
    await reached({ caughtUp }, performance.now() + maxWaitMs);
    const idle = (await stubs.among(keys))
      .map((key) => partsOf(table.key, key))
      .filter((key) => key !== null);
    if (idle.length > 0)
      await spool.append({ whole: run, table: table.table, idle: idle.map((key) => [...key]) });
  }
}

export function tableContents(sql: Sql, graph: Graph, table: TableMapping): TableContents {
  const rows = sourceContents(sql, table);
  const elements = graphContents(graph, table);
  const rowOf = ({ key, version, row }: ContentRow): SourceRow => ({
    id: JSON.stringify(key),
    version,
    content: contentOfRow(row, table),
  });
  return {
    verdict: (source, found) => verdictOfAll(source?.content ?? null, found?.contents ?? []),
    async page(after, limit, signal) {
      const page = await rows.page(after === null ? null : keyOf(after), limit, signal);
      return { rows: page.rows.map(rowOf), last: page.last };
    },
    source: {
      holdable: (ids, signal) => rows.holdable(ids.map(keyOf), signal),
      byIds: async (ids, signal) => (await rows.byKeys(ids.map(keyOf), signal)).map(rowOf),
    },
    graph: {
      async byIds(ids) {
        const byKey = new Map(ids.map((id): [GraphKey, string] => [graphKey(table.key, keyOf(id)), id]));
        const found = new Map<string, { id: string; position: string; contents: Content[] }>();
        for (const { key, position, content } of await elements.byKeys([...byKey.keys()])) {
          const id = byKey.get(key) ?? '';
          const of = found.get(id) ?? { id, position, contents: [] };
          found.set(id, of);
          of.contents.push(content);
          if (position > of.position) of.position = position;
        }
        return [...found.values()];
      },
    },
    async *keyPages(limit) {
      for await (const keys of elements.keyPages(limit)) {
        const named = keys.map((key) => partsOf(table.key, key)).filter((key) => key !== null);
        yield { ids: named.map((key) => JSON.stringify(key)), unnamed: keys.length - named.length };
      }
    },
    countUnkeyed: elements.countUnkeyed,
    async rowless(ids, signal) {
      const present = await existingKeys(sql, table, ids.map(keyOf), signal);
      const rows = new Set(present.map((key) => JSON.stringify(key)));
      return ids.filter((id) => !rows.has(id));
    },
  };
}

/** Of an id. */
export function keyOf(id: string): KeyParts {
  return JSON.parse(id) as KeyParts;
}
