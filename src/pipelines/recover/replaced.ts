/**
 * Whose graph a recovery may take over: that of a source that the control topic records, or, where it records none any
 * more, of the one that the operator names. A pure decision (I6).
 */
import { AppError } from '../../core/errors.ts';
import { type ControlState, unfinishedRecovery } from '../../kafka/control.ts';
import { foreignGraph, nameOfSource, type Source, TOOK_ITS_PLACE } from '../same-source.ts';

export interface Replaced {
  /** Others that the graph may still hold the data of. */
  readonly previousSources: readonly string[];
  /** The one of them whose data it holds; null: ours, or nobody's. */
  readonly held: string | null;
  /** Nothing but the operator tells of that one. */
  readonly byWordAlone: boolean;
}

export interface Known {
  /** As the graph says; null: nobody's yet. */
  readonly found: string | null;
  readonly source: Source;
  readonly control: Pick<ControlState, 'source' | 'recovery'>;
  /** By the operator; null: none. */
  readonly named: string | null;
}

/** Throws GRAPH_FOREIGN, with what would have to be said; USAGE for a name that the graph does not bear out. */
export function decideReplaced({ found, source, control, named }: Known): Replaced {
  const ours = nameOfSource(source);
  const begun = unfinishedRecovery(control)?.previousSources ?? [];
  // A recovery that goes on was told so before, and the graph may be ours by now.
  if (named !== null && named !== found && !begun.includes(named))
    throw new AppError(
      'USAGE',
      `--replaces names ${named}, but the graph holds the data of ${found ?? 'no source yet'}: nothing is changed.`,
    );
  const recorded = control.source === null ? [] : [nameOfSource(control.source)];
  const previousSources = [...new Set([...begun, ...recorded])].filter((name) => name !== ours);
  if (found === null || found === ours) return { previousSources, held: null, byWordAlone: false };
  if (previousSources.includes(found)) return { previousSources, held: found, byWordAlone: false };
  if (named === found)
    return { previousSources: [...previousSources, found], held: found, byWordAlone: true };
  throw foreignGraph(
    found,
    source,
    `${TOOK_ITS_PLACE}, graph recover --replaces ${found} replaces what the graph holds.`,
  );
}
