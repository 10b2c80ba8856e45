/** The check by which a rebuilt or recovered graph is proved: a run of sync-data that compares everything, its findings in a folder of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { entityTable } from '../core/entity-table.ts';
import { spoolFile } from '../ops/spool-file.ts';
import type { Check } from '../pipelines/prove.ts';
import type { GraphContext } from './graph-context.ts';
import type { Servers } from './graph-reports.ts';
import { EVERYTHING, recordProof } from './proof.ts';
import { driftOf } from './sync-data-outcome.ts';
import { besideStream } from './sync-data-ways.ts';

export async function checkWhole(
  context: GraphContext,
  servers: Servers,
  maxWaitMs: number,
  signal: AbortSignal,
): Promise<Check> {
  const folder = await mkdtemp(join(tmpdir(), 'graph-check-'));
  const resultsFile = join(folder, 'report.json');
  try {
    const { outcome, ...proved } = await recordProof(
      context,
      servers,
      {
        ...EVERYTHING,
        entities: entityTable(context.mapping),
        maxWaitMs,
        begin: besideStream(servers, context),
        resultsFile,
        writeReport: () => Promise.resolve(),
        spool: await spoolFile(resultsFile, false),
        emit(_, event, fields) {
          context.log.info(fields ?? {}, event);
        },
      },
      signal,
    );
    const { counts, wholeGraph } = outcome;
    const others = [...(wholeGraph?.found.tables.values() ?? [])];
    return {
      ...proved,
      drift: driftOf(outcome),
      compared: others.reduce((sum, { ok }) => sum + ok, counts.ok),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
