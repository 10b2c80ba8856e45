/**
 * The check of sync-data: the scan, and the confirmation of what it finds, one batch of candidates beside the next pages.
 */
import { type Drift, verdictOf } from '../../core/drift.ts';
import type { Findings } from '../../core/check-report.ts';
import { confirm, type ConfirmSources } from './confirm.ts';
import { scan, type ScanSources } from './scan.ts';

export interface CheckOptions extends ScanSources, Omit<ConfirmSources, 'source' | 'graph'> {
  readonly source: ScanSources['source'] & ConfirmSources['source'];
  readonly graph: ScanSources['graph'] & ConfirmSources['graph'];
  /** Called after each batch with how many entities were compared so far. */
  readonly onProgress: (compared: number) => void;
}

const CANDIDATES = 1000;

export async function check(options: CheckOptions, signal: AbortSignal): Promise<Findings> {
  const drift = new Map<string, Drift>();
  const unconfirmed: string[] = [];
  let ok = 0;
  let compared = 0;
  let candidates: string[] = [];
  let confirming = Promise.resolve();

  async function confirmBatch(ids: readonly string[]): Promise<void> {
    const confirmed = await confirm(ids, options, signal);
    ok += confirmed.ok;
    for (const [id, verdict] of confirmed.drift) drift.set(id, verdict);
    unconfirmed.push(...confirmed.unconfirmed);
  }

  async function hand(ids: readonly string[]): Promise<void> {
    await confirming;
    confirming = confirmBatch(ids);
    // Its failure is thrown by whoever waits for it next.
    confirming.catch(() => undefined);
  }

  for await (const pairs of scan(options, signal)) {
    for (const { id, source, graph } of pairs) {
      const verdict = verdictOf(source, graph);
      if (verdict === 'ok') ok++;
      else if (verdict !== null) candidates.push(id);
    }
    compared += pairs.length;
    options.onProgress(compared);
    if (candidates.length < CANDIDATES) continue;
    await hand(candidates);
    candidates = [];
  }
  if (candidates.length > 0) await hand(candidates);
  await confirming;
  return { ok, drift, unconfirmed };
}
