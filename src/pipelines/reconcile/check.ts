/**
 * The check of sync-data: the scan, and the confirmation of what it finds, one batch of candidates beside the next pages.
 *
 *   pages ─▶ spool ─▶ the longest open candidates ─▶ confirm ─▶ spool
 *
 * Guarantee: memory does not grow with the drift, nor with how large rows are (at-once.ts). Whatever ends the run,
 * another goes on behind the last page in the spool; only pages that were being read are read again.
 */
import { type CheckState, type SpoolLine, stateOf } from '../../core/check-spool.ts';
import { type Drift, verdictOf } from '../../core/drift.ts';
import type { GraphEntities } from '../../neo4j/entities.ts';
import type { SourceEntities } from '../../postgres/entities.ts';
import { AT_ONCE, firstOf } from './at-once.ts';
import { confirm, type Confirmed, type Confirming, patienceOf } from './confirm.ts';
import { diffsOf, type EntityContents, unlike } from './deep.ts';
import { scan, type ScanSources } from './scan.ts';
import type { Throttle } from './throttle.ts';

/** Lines, each of them there as a whole or not at all. */
export interface Spool {
  /** In the order of calls. Nothing is written after a failure. */
  readonly append: (line: SpoolLine) => Promise<void>;
  /** All of them, from the first. */
  readonly lines: () => AsyncIterable<SpoolLine>;
  readonly remove: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface CheckOptions extends ScanSources, Omit<Confirming, 'snapshot'> {
  readonly source: Pick<SourceEntities, 'page' | 'byIds' | 'canHave' | 'compare' | 'snapshot'>;
  readonly graph: Pick<GraphEntities, 'page' | 'byIds'>;
  /** If content is compared, or shown. */
  readonly contents?: EntityContents;
  /** Called at the start and after each batch with how many entities are compared. */
  readonly onProgress: (compared: number) => void;
  /** Between pages, if the scan is to be held back while replication lags. */
  readonly throttle: Throttle | null;
}

/** Resolves, when all is compared and confirmed, to what the spool says. */
export async function check(options: CheckOptions, spool: Spool, signal: AbortSignal): Promise<CheckState> {
  const { counts, start, open: left } = await stateOf(spool.lines());
  let open = left;
  let row = start?.row ?? null;
  let compared = Object.values(counts).reduce((sum, n) => sum + n, open.length);
  let written = Promise.resolve();
  let confirming = Promise.resolve();
  const patience = patienceOf(options);
  options.onProgress(compared);

  async function confirmBatch(ids: readonly string[]): Promise<void> {
    const { line, inTime } = await confirmedLine(ids, { ...options, maxWaitMs: patience.ms }, signal);
    patience.note(inTime);
    await spool.append(line);
  }

  async function handOver(): Promise<void> {
    await confirming;
    const ids = await firstOf(open, options.contents?.source ?? {}, signal);
    confirming = confirmBatch(ids);
    open = open.slice(ids.length);
    // Its failure is thrown by whoever waits for it next.
    confirming.catch(() => undefined);
  }

  for await (const pairs of scan(options, start, signal)) {
    const { contents } = options;
    const suspects = contents === undefined ? null : await unlike(pairs, contents, signal);
    const candidates: string[] = [];
    let ok = 0;
    for (const { id, source, graph } of pairs) {
      const verdict = verdictOf(source, graph);
      if (source !== null) row = id;
      if (verdict === 'ok' && suspects?.has(id) !== true) ok++;
      else if (verdict !== null) candidates.push(id);
    }
    await written;
    written = spool.append({ after: pairs.at(-1)?.id ?? '', row, ok, candidates });
    // A failure is thrown by the next page, or the end.
    written.catch(() => undefined);
    open = open.concat(candidates);
    compared += pairs.length;
    options.onProgress(compared);
    while (open.length >= AT_ONCE) await handOver();
    await options.throttle?.(signal);
  }
  while (open.length > 0) await handOver();
  await Promise.all([written, confirming]);
  return stateOf(spool.lines());
}

async function confirmedLine(
  ids: readonly string[],
  { contents, source, graph, caughtUp, maxWaitMs, readTwice }: CheckOptions,
  signal: AbortSignal,
): Promise<{ readonly line: SpoolLine; readonly inTime: boolean }> {
  const confirming = { snapshot: source.snapshot, caughtUp, maxWaitMs, readTwice };
  if (contents === undefined) {
    const comparing = { source, graph, verdict: verdictOf };
    const confirmed = await confirm(ids, comparing, confirming, signal);
    return { line: lineOf(ids, confirmed, source), inTime: confirmed.inTime };
  }
  const confirmed = await confirm(ids, contents, confirming, signal);
  const diffs = contents.diffs ? { diffs: diffsOf(confirmed.drift).sort(byId(source)) } : {};
  return { line: { ...lineOf(ids, confirmed, source), ...diffs }, inTime: confirmed.inTime };
}

type Order = Pick<SourceEntities, 'compare'>;

function lineOf(
  ids: readonly string[],
  { ok, drift, unconfirmed }: Confirmed<unknown, unknown>,
  order: Order,
): SpoolLine {
  const verdicts = drift.map(({ id, verdict }): [string, Drift] => [id, verdict]);
  return { confirmed: ids.length, ok, drift: verdicts.sort(byId(order)), unconfirmed: [...unconfirmed] };
}

function byId({ compare }: Order) {
  return ([a]: readonly [string, unknown], [b]: readonly [string, unknown]) => compare(a, b);
}
