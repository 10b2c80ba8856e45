/**
 * The check of sync-data: the scan, and the confirmation of what it finds, one batch of candidates beside the next pages.
 *
 *   pages ─▶ spool ─▶ the longest open candidates ─▶ confirm ─▶ spool
 *
 * Guarantee: memory does not grow with the drift. Whatever ends the run, another goes on behind the last page in the
 * spool; only pages that were being read are read again.
 */
import { type CheckState, type SpoolLine, stateOf } from '../../core/check-spool.ts';
import { compareIds, verdictOf } from '../../core/drift.ts';
import { confirm, type ConfirmSources } from './confirm.ts';
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

export interface CheckOptions extends ScanSources, Omit<ConfirmSources, 'source' | 'graph'> {
  readonly source: ScanSources['source'] & ConfirmSources['source'];
  readonly graph: ScanSources['graph'] & ConfirmSources['graph'];
  /** Called at the start and after each batch with how many entities are compared. */
  readonly onProgress: (compared: number) => void;
  /** Between pages, if the scan is to be held back while replication lags. */
  readonly throttle: Throttle | null;
}

const CANDIDATES = 1000;

/** Resolves, when all is compared and confirmed, to what the spool says. */
export async function check(options: CheckOptions, spool: Spool, signal: AbortSignal): Promise<CheckState> {
  const { counts, start, open: left } = await stateOf(spool.lines());
  let open = left;
  let row = start?.row ?? null;
  let compared = Object.values(counts).reduce((sum, n) => sum + n, open.length);
  let confirming = Promise.resolve();
  options.onProgress(compared);

  async function confirmBatch(ids: readonly string[]): Promise<void> {
    const { ok, drift, unconfirmed } = await confirm(ids, options, signal);
    const sorted = [...drift].sort(([a], [b]) => compareIds(a, b));
    await spool.append({ confirmed: ids.length, ok, drift: sorted, unconfirmed: [...unconfirmed] });
  }

  async function handOver(): Promise<void> {
    await confirming;
    confirming = confirmBatch(open.slice(0, CANDIDATES));
    open = open.slice(CANDIDATES);
    // Its failure is thrown by whoever waits for it next.
    confirming.catch(() => undefined);
  }

  for await (const pairs of scan(options, start, signal)) {
    const candidates: string[] = [];
    let ok = 0;
    for (const { id, source, graph } of pairs) {
      const verdict = verdictOf(source, graph);
      if (source !== null) row = id;
      if (verdict === 'ok') ok++;
      else if (verdict !== null) candidates.push(id);
    }
    await spool.append({ after: pairs.at(-1)?.id ?? '', row, ok, candidates });
    open = open.concat(candidates);
    compared += pairs.length;
    options.onProgress(compared);
    while (open.length >= CANDIDATES) await handOver();
    await options.throttle?.(signal);
  }
  while (open.length > 0) await handOver();
  await confirming;
  return stateOf(spool.lines());
}
