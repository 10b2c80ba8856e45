/**
 * How things stand: each server, the slot, the projector, progress per table, dead letters. Whatever cannot be asked is
 * shown as down.
 */
import type { Mapping, TableMapping } from '../core/mapping.ts';
import { describeError } from '../core/errors.ts';
import { describeRows, paceOf, type TableLoad } from '../core/loads.ts';
import { formatLsn, parseLsn } from '../core/lsn.ts';
import { type Position, position } from '../core/position.ts';
import { type ControlState, unfinishedRecovery } from '../kafka/control.ts';
import type { PartitionRange } from '../kafka/offsets.ts';
import { generationsOf } from '../kafka/topic-ids.ts';
import type { PartitionProgress } from '../neo4j/progress.ts';
import { type RebuildMark, tableDigest } from '../neo4j/rebuild-mark.ts';
import type { SlotInfo } from '../postgres/slot.ts';
import type { SourceInfo } from '../postgres/source.ts';
import { misfits } from '../pipelines/fit.ts';
import { lagMs } from '../pipelines/lag.ts';
import { recordsBehind } from '../pipelines/wait.ts';

export interface StatusSources {
  readonly mapping: Mapping;
  readonly source: () => Promise<{ readonly info: SourceInfo; readonly slot: SlotInfo | null }>;
  /** null: no publisher has ever been at work. */
  readonly control: () => Promise<ControlState | null>;
  readonly topics: () => Promise<{ readonly ends: readonly PartitionRange[]; readonly deadLetters: number }>;
  readonly graph: () => Promise<{
    /** One that was begun and not brought to its end. */
    readonly rebuild: Pick<RebuildMark, 'state' | 'startedAt'> | null;
    /** Of an unfinished replay. */
    readonly replay: readonly { readonly next: bigint; readonly end: bigint }[];
    readonly progress: readonly PartitionProgress[];
    readonly uuid: string | null;
    /** Up to where the graph says itself that it is proved. */
    readonly proved: Position | null;
  }>;
  /** Is one at work? */
  readonly projector: () => Promise<boolean>;
  /** What is no longer as it was recorded. */
  readonly gaps: () => Promise<readonly string[]>;
}

export interface Status {
  /** Every server is up, the slot is being read, a projector is at work, and nothing is in the way. */
  readonly healthy: boolean;
  readonly servers: Readonly<Record<'postgres' | 'kafka' | 'neo4j', ServerStatus>>;
  /** Null if unknown, as it is of a standby: that has another one, or none. */
  readonly slot: {
    readonly name: string;
    readonly exists: boolean;
    readonly active: boolean;
    readonly confirmedFlush: string | null;
    /** WAL that is not yet in Kafka, in bytes. */
    readonly lagBytes: number | null;
    /** WAL that PostgreSQL keeps for the slot, in bytes. */
    readonly retainedBytes: number | null;
    readonly walStatus: string | null;
  } | null;
  /** Null if unknown. One that was killed counts until its session with Kafka ends. */
  readonly projectorAtWork: boolean | null;
  readonly tables: readonly {
    readonly table: string;
    readonly topic: string;
    readonly partitions: number;
    /** Records in Kafka that the graph does not have yet; null if one of the two cannot be asked, or they do not fit. */
    readonly recordsBehind: number | null;
    /** Commit time of the newest change applied, ISO 8601. */
    readonly appliedUpTo: string | null;
    /** Of the rows that are older than the slot; null if unknown. */
    readonly load:
      | (Pick<TableLoad, 'state' | 'rows' | 'expected'> & {
          readonly rate: number;
          readonly etaSeconds: number | null;
        })
      | null;
    /**
     * A comparison of everything has proved this graph up to here; null: none has, in this epoch, or the graph was put
     * back since, or there is a gap or it cannot be told, or a rebuild is not finished, or the table is mapped otherwise by
     * now.
     */
    readonly verified: { readonly through: string; readonly at: string } | null;
  }[];
  /** Age of the newest change applied, while something is behind; 0 when nothing is; null if unknown. */
  readonly lagSeconds: number | null;
  readonly deadLetters: number | null;
  /** Requests to republish that could not be understood, and were skipped; null if unknown. */
  readonly refusedRequests: number | null;
  /** Why nothing goes on from what was recorded, as recover says it; null if unknown. */
  readonly gaps: readonly string[] | null;
  /** Why they are unknown, and what to do; null if they are known. */
  readonly gapsError: string | null;
  /** A recovery that is not finished. */
  readonly recovery: { readonly reasons: readonly string[]; readonly beganAt: string } | null;
  /** A rebuild of this graph that is not finished: readers see a part of it. */
  readonly rebuild: { readonly state: string; readonly startedAt: string } | null;
  /** A replay that is not finished. */
  readonly replay: { readonly recordsLeft: number } | null;
}

type ServerStatus = { readonly up: true } | { readonly up: false; readonly error: string };

export async function readStatus(sources: StatusSources, nowMs: number): Promise<Status> {
  const { mapping } = sources;
  // First: a projector at work goes on behind the topics' ends, and takes up a recovery once it is recorded.
  const graph = await ask(sources.graph);
  const [source, control, topics, projector, found] = await Promise.all([
    ask(sources.source),
    ask(sources.control),
    ask(sources.topics),
    ask(sources.projector),
    ask(sources.gaps),
  ]);
  const gaps = found.value;
  const primary = source.value?.info.inRecovery === true ? null : source.value;
  const slot = primary?.slot ?? null;
  const ends = topics.value?.ends ?? null;
  const progress = graph.value?.progress ?? null;
  const rebuild = graph.value?.rebuild ?? null;
  const replay = graph.value?.replay ?? [];
  const recovery = control.value === null ? null : unfinishedRecovery(control.value);
  const unfit = new Set(
    misfits(progress ?? [], {
      ranges: ends ?? [],
      generations: generationsOf(
        control.value?.topics ?? new Map(),
        mapping.tables.map(({ topic }) => topic),
      ),
      recovery: control.value?.recovery ?? null,
    }).map(({ topic }) => topic),
  );

  const tables = mapping.tables.map((of) => {
    const { table, topic } = of;
    const own = (of: { readonly topic: string }) => of.topic === topic;
    const applied = Math.max(0, ...(progress ?? []).filter(own).map((p) => p.committedMs ?? 0));
    return {
      table,
      topic,
      partitions: ends?.filter(own).length ?? mapping.source.partitions,
      recordsBehind:
        ends === null || progress === null || unfit.has(topic)
          ? null
          : Number(recordsBehind(ends.filter(own), progress)),
      appliedUpTo: applied === 0 ? null : new Date(applied).toISOString(),
      load: loadOf(control.value?.source?.loads[table], nowMs),
      verified:
        gaps?.length === 0 && rebuild === null ? verifiedOf(mapping, of, control.value, graph.value) : null,
    };
  });
  const lag = ends === null || progress === null || unfit.size > 0 ? null : lagMs(ends, progress, nowMs);
  const allUp = source.server.up && topics.server.up && graph.server.up;
  return {
    healthy:
      allUp &&
      slot?.activePid != null &&
      slot.invalidation === null &&
      !ENDING.includes(slot.walStatus ?? '') &&
      projector.value === true &&
      gaps?.length === 0 &&
      recovery === null &&
      rebuild === null,
    servers: { postgres: source.server, kafka: topics.server, neo4j: graph.server },
    slot:
      primary === null
        ? null
        : {
            name: mapping.source.slot,
            exists: slot !== null,
            active: slot?.activePid != null,
            confirmedFlush: slot === null ? null : formatLsn(slot.confirmedFlush),
            lagBytes: slot === null ? null : Number(slot.lagBytes),
            retainedBytes: slot === null ? null : Number(slot.retainedBytes),
            walStatus: slot?.walStatus ?? null,
          },
    projectorAtWork: projector.value,
    tables,
    lagSeconds: lag === null ? null : lag / 1000,
    deadLetters: topics.value?.deadLetters ?? null,
    refusedRequests: control.value?.source?.refusedRequests ?? null,
    gaps,
    gapsError: found.server.up ? null : found.server.error,
    recovery: recovery === null ? null : { reasons: recovery.reasons, beganAt: recovery.beganAt },
    rebuild: rebuild === null ? null : { state: rebuild.state, startedAt: rebuild.startedAt },
    replay:
      replay.length === 0
        ? null
        : { recordsLeft: replay.reduce((sum, { next, end }) => sum + Number(end - next), 0) },
  };
}

function loadOf(load: TableLoad | undefined, nowMs: number): Status['tables'][number]['load'] {
  if (load === undefined) return null;
  const { state, rows, expected } = load;
  return { state, rows, expected, ...paceOf(load, nowMs) };
}

/** What control topic and graph agree on, of the mapping as it is. */
function verifiedOf(
  mapping: Mapping,
  of: TableMapping,
  control: ControlState | null,
  graph: { readonly uuid: string | null; readonly proved: Position | null } | null,
): Status['tables'][number]['verified'] {
  const verified = control?.verified.get(graph?.uuid ?? '')?.get(of.table);
  if (verified === undefined || verified.epoch !== control?.source?.epoch) return null;
  if (verified.mapping !== tableDigest(mapping, of)) return null;
  const through = parseLsn(verified.lsn);
  if (graph?.proved !== position(verified.epoch, through, through)) return null;
  return { through: verified.lsn, at: verified.at };
}

/** States of a slot's WAL in which it is not kept any more. */
const ENDING: readonly string[] = ['unreserved', 'lost'];

async function ask<T>(question: () => Promise<T>): Promise<{ value: T | null; server: ServerStatus }> {
  try {
    return { value: await question(), server: { up: true } };
  } catch (error) {
    return { value: null, server: { up: false, error: describeError(error) } };
  }
}

/** What was left out of the load and is there all the same, asked for by hand, a proof shows. */
function describe({ load, verified }: Status['tables'][number]): string {
  if (load === null || load.state === 'loaded') return '';
  if (load.state === 'skipped') return verified === null ? ', older rows were NOT LOADED' : '';
  return `, LOADING ${describeRows(load)}, ${load.rate}/s, ${load.etaSeconds ?? '?'} s to go`;
}

function walOf(status: string | null): string {
  if (status === 'unreserved') return 'UNRESERVED, the next checkpoint may remove some that is needed';
  return status === 'lost' ? 'LOST, some that is needed was removed' : (status ?? 'unknown');
}

function projectorOf(atWork: boolean | null): string {
  if (atWork === null) return 'unknown';
  return atWork ? 'at work' : 'NOT RUNNING: no projector is running';
}

/** For people. */
export function formatStatus(status: Status): string {
  const lines: string[] = [];
  for (const [name, server] of Object.entries(status.servers)) {
    lines.push(`${name.padEnd(10)}${server.up ? 'up' : `DOWN  ${server.error}`}`);
  }
  const { slot } = status;
  if (slot !== null) {
    const state = !slot.exists ? 'MISSING' : slot.active ? 'active' : 'NOT ACTIVE: no publisher is running';
    lines.push(`slot      ${slot.name}  ${state}`);
    if (slot.exists) {
      lines.push(
        `          confirmed ${slot.confirmedFlush}, ${slot.lagBytes} bytes not in Kafka, ` +
          `${slot.retainedBytes} bytes of WAL kept: ${walOf(slot.walStatus)}`,
      );
    }
  }
  lines.push(`projector ${projectorOf(status.projectorAtWork)}`);
  lines.push(`lag       ${status.lagSeconds === null ? 'unknown' : `${status.lagSeconds.toFixed(1)} s`}`);
  const width = Math.max(...status.tables.map((t) => t.table.length));
  for (const one of status.tables) {
    const { table, recordsBehind, appliedUpTo, verified } = one;
    const behind = recordsBehind === null ? 'unknown' : `${recordsBehind} records behind`;
    const proof =
      verified === null ? ', not verified' : `, verified through ${verified.through} at ${verified.at}`;
    const applied = appliedUpTo === null ? '' : `, applied up to ${appliedUpTo}`;
    lines.push(`table     ${table.padEnd(width)}  ${behind}${applied}${proof}${describe(one)}`);
  }
  if (status.gapsError !== null) lines.push(`gaps      unknown: ${status.gapsError}`);
  for (const gap of status.gaps ?? []) lines.push(`GAP       ${gap}: run graph recover`);
  if (status.recovery !== null)
    lines.push(`RECOVERING since ${status.recovery.beganAt}: ${status.recovery.reasons.join('; ')}`);
  if (status.rebuild !== null)
    lines.push(
      `REBUILDING (${status.rebuild.state}) since ${status.rebuild.startedAt}: run graph rebuild to go on`,
    );
  if (status.replay !== null)
    lines.push(`a replay is not finished: ${status.replay.recordsLeft} records left`);
  lines.push(`dead letters  ${status.deadLetters ?? 'unknown'}`);
  if ((status.refusedRequests ?? 0) > 0)
    lines.push(`requests that could not be understood, and were skipped: ${status.refusedRequests}`);
  return `${lines.join('\n')}\n`;
}
