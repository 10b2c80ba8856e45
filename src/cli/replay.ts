/** `graph replay`: options to a replay or its rehearsal, a line per table on stdout, progress in the log. */
import { randomUUID } from 'node:crypto';
import { type ReplayOptions, replayRequest } from '../core/replay.ts';
import { rehearse, replay } from '../pipelines/replay/replay.ts';
import { type Counts, createTally, type Tally } from '../pipelines/replay/tally.ts';
import { waitForAnswers } from '../pipelines/wait.ts';
import { lockRun, REPLAY } from '../postgres/run-lock.ts';
import type { Log } from '../runtime/log.ts';
import { enabledGraphContext } from './graph-context.ts';
import { SERVERS, waitSources, withServers } from './graph-reports.ts';
import { exitCodeOf, stopSignal } from './stop-signal.ts';

export interface ReplayCommandOptions extends ReplayOptions {
  readonly dryRun: boolean;
  readonly restart: boolean;
  /** Seconds. */
  readonly maxWait: number;
}

const SAY_EVERY_MS = 10_000;

/** Exit 0, or 1 if records could not be applied. */
export async function runReplay(options: ReplayCommandOptions): Promise<void> {
  const context = enabledGraphContext('replay', SERVERS);
  const { mapping, databaseUrl, log } = context;
  const { dryRun, restart, maxWait } = options;
  const request = replayRequest(options, mapping);
  const tally = createTally(request.tables);
  const stop = stopSignal();
  const { signal } = stop;
  const lock = dryRun ? null : await lockRun(databaseUrl, REPLAY, mapping.source.slot, stop.fail);
  try {
    await withServers(context, async (servers) => {
      const on = { ...servers, mapping, log };
      const caughtUp = async () => {
        await waitForAnswers(waitSources(servers, context), maxWait * 1000, signal);
      };
      const end = sayNowAndThen(log, tally);
      try {
        if (dryRun) await rehearse(on, { request, tally }, signal);
        else await replay(on, { request, owner: randomUUID(), restart, caughtUp, tally }, signal);
      } finally {
        end();
      }
    });
    for (const [table, counts] of tally.counts)
      process.stdout.write(`${table}: ${describe(counts, dryRun)}\n`);
    conclude(tally, dryRun);
  } catch (error) {
    if (!signal.aborted) throw error;
    process.exitCode = exitCodeOf(signal.reason);
  } finally {
    stop.end();
    await lock?.release();
  }
}

function sayNowAndThen(log: Log, tally: Tally): () => void {
  const say = () => {
    log.info(tally.pace(), 'replay');
  };
  const timer = setInterval(say, SAY_EVERY_MS);
  return () => {
    clearInterval(timer);
    say();
  };
}

function describe(counts: Counts, dryRun: boolean): string {
  const { records, applied, older, asked, failed, changed, removed, emptied } = counts;
  const parts = dryRun
    ? [
        `${changed} would change something`,
        `${removed} would delete something`,
        `${applied - changed - removed} are there already`,
        `${older} are older`,
        `${asked} would be asked for again`,
        `${failed} cannot be applied`,
        ...(emptied === 0 ? [] : [`truncates would delete ${emptied}`]),
      ]
    : [`${applied} applied`, `${older} are older`, `${asked} asked for again`, `${failed} cannot be applied`];
  return [`${records} records`, ...parts].join(', ');
}

function conclude({ counts }: Tally, dryRun: boolean): void {
  const failed = [...counts.values()].reduce((sum, { failed }) => sum + failed, 0);
  if (failed === 0 || dryRun) return;
  process.stderr.write(`${failed} records could not be applied: see graph dead-letters list.\n`);
  process.exitCode = 1;
}
