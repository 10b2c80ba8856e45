/** `graph recover`: what is wrong to stdout, a question, then a new beginning, until the graph is proved again. */
import { AppError, describeError, isAppError } from '../core/errors.ts';
import { formatLsn } from '../core/lsn.ts';
import { NO_CONTROL, unfinishedRecovery, writeControl } from '../kafka/control.ts';
import { markAsked, markProved } from '../neo4j/rebuild-mark.ts';
import { beginRecovery, finishEmptying } from '../pipelines/recover/recover.ts';
import { type Proof, proveByChecks } from '../pipelines/prove.ts';
import { findGap, type Gap } from '../pipelines/recover/gap.ts';
import { checkSource, openControl } from '../pipelines/publish/prepare.ts';
import { nameOfSource } from '../pipelines/same-source.ts';
import { waitForGraph, type WaitSources, waitUntilLoaded } from '../pipelines/wait.ts';
import { lockRun, REPAIR, type RunLock } from '../postgres/run-lock.ts';
import { requireConfirmation } from './confirmation.ts';
import { enabledGraphContext, type GraphContext } from './graph-context.ts';
import { controlOf, SERVERS, type Servers, waitSources, withServers } from './graph-reports.ts';
import { EVERYTHING } from './proof.ts';
import { exitCodeOf, stopSignal } from './stop-signal.ts';
import { checkWhole } from './whole-check.ts';

export interface RecoverOptions {
  /** Begin without asking. */
  readonly yes: boolean;
  /** The other source whose data the graph holds, where nothing else tells that this one took its place. */
  readonly replaces?: string;
}

const RECOVER = 'graph recover';
const CONFIRMATION = { question: 'Type "recover" to begin: ', word: 'recover' } as const;
const SAY_EVERY_MS = 10_000;

export async function runRecover(options: RecoverOptions): Promise<void> {
  const context = enabledGraphContext('recover', SERVERS);
  const stop = stopSignal();
  const { slot } = context.mapping.source;
  const locks: RunLock[] = [];
  try {
    for (const what of [RECOVER, REPAIR])
      locks.push(await lockRun(context.databaseUrl, what, slot, stop.fail, RECOVER));
    await withServers(context, (servers) => recover(context, servers, options, stop.signal));
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    process.exitCode = exitCodeOf(stop.signal.reason);
  } finally {
    stop.end();
    for (const lock of locks) await lock.release();
  }
}

async function recover(
  context: GraphContext,
  servers: Servers,
  { yes, replaces }: RecoverOptions,
  signal: AbortSignal,
): Promise<void> {
  const { mapping, databaseUrl } = context;
  const gap = await findGap({ mapping, databaseUrl, ...servers, replaces: replaces ?? null }, signal);
  if (gap.reasons.length > 0) {
    process.stdout.write(whatIsWrong(gap, mapping.tables.length));
    if (gap.slot?.activePid != null)
      throw new AppError(
        'SLOT_IN_USE',
        `A publisher is at work on the slot ${mapping.source.slot}: nothing was touched.`,
      );
    if (!yes) await requireConfirmation(CONFIRMATION, process.stdin, process.stderr, signal);
    await begin(context, servers, gap, signal);
  } else if (unfinishedRecovery(gap.control) === null) {
    process.stdout.write('There is no gap: nothing to recover.\n');
    return;
  }
  await finishEmptying(servers.graph, mapping, gap.source, signal);
  process.stdout.write('Publisher and projector (graph replicate) have to run now: they load all tables.\n');
  await untilLoaded(context, servers, signal);
  // So are the rows that a rebuild was still to ask for.
  await markAsked(servers.graph, mapping);
  const through = await proveAndFinish(context, servers, signal);
  process.stdout.write(
    `The graph is recovered: verified through ${formatLsn(through.lsn)} of epoch ${through.epoch}.\n`,
  );
}

function whatIsWrong({ reasons, slot, next, emptying, held, source }: Gap, tables: number): string {
  return [
    'This is a gap: changes may have been lost.',
    ...reasons.map((reason) => `  - ${reason}`),
    'To recover from it:',
    `  - ${slot === null ? 'a slot is made' : 'the slot is dropped and made again'}; epoch ${next.epoch} begins`,
    `  - all rows of ${tables} tables are published again, while changes go on`,
    '  - then everything is compared, and what the graph has too much is deleted',
    ...(held === null
      ? []
      : [`The graph holds the data of ${held}: this database's, ${nameOfSource(source)}, replaces it.`]),
    emptying
      ? 'A rebuild has begun to empty the graph: that is done to its end, and the recovery fills it again.'
      : 'The graph can be read all the time; until the end it is not proved.',
    '',
  ].join('\n');
}

async function begin(
  context: GraphContext,
  { sql, client }: Servers,
  gap: Gap,
  signal: AbortSignal,
): Promise<void> {
  const { mapping, databaseUrl, log } = context;
  const preparing = { mapping, sql, databaseUrl, client, log, managePublication: true };
  // What keeps a publisher from starting afterwards is found before anything is given up.
  await checkSource(preparing, signal);
  const control = await openControl(preparing, signal);
  try {
    const epoch = await beginRecovery({ sql, mapping, control }, gap);
    log.warn({ epoch, reasons: gap.reasons }, 'a recovery has begun');
  } finally {
    await control.close();
  }
}

/** Waits for as long as it takes, and says how far it is. */
async function untilLoaded(context: GraphContext, servers: Servers, signal: AbortSignal): Promise<void> {
  const sources = duringRecovery(waitSources(servers, context));
  for (;;) {
    try {
      await waitUntilLoaded(sources, SAY_EVERY_MS, signal);
      await waitForGraph(sources, SAY_EVERY_MS, signal);
      return;
    } catch (error) {
      if (!isAppError(error, 'LOADING') && !isAppError(error, 'TIMED_OUT')) throw error;
      process.stderr.write(`${describeError(error)}\n`);
    }
  }
}

/** `wait` refuses while a recovery is on; this is the one that knows what it waits for. */
function duringRecovery(sources: WaitSources): WaitSources {
  const recorded = async () => {
    const found = await sources.recorded();
    return found === null ? null : { ...found, recovering: null };
  };
  return { ...sources, recorded, rebuild: () => Promise.resolve(null) };
}

/** Throws NOT_PROVED with the recovery left open. */
async function proveAndFinish(context: GraphContext, servers: Servers, signal: AbortSignal): Promise<Proof> {
  const proof = await proveByChecks(
    () => checkWhole(context, servers, EVERYTHING.maxWaitMs, signal),
    (drift) => {
      process.stderr.write(
        `${drift} entities or other keys differed and were asked for again; comparing once more.\n`,
      );
    },
  );
  const recovery = unfinishedRecovery((await controlOf(servers.client, context.mapping)) ?? NO_CONTROL);
  if (recovery?.epoch !== proof.epoch)
    throw new AppError('NOT_PROVED', 'Another recovery was begun while the graph was compared.');
  // So is what a rebuild of the graph had begun.
  await markProved(servers.graph, context.mapping);
  const finished = { kind: 'recovery', ...recovery, finishedAt: new Date().toISOString() } as const;
  await writeControl(servers.client, context.mapping.controlTopic, context.log, [finished]);
  return proof;
}
