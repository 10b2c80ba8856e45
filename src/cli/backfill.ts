/** `graph backfill`: which rows are asked for again, from the options to a line per table on stdout. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { entityTable, updatedAtColumn } from '../core/entity-table.ts';
import { AppError } from '../core/errors.ts';
import { instantOf } from '../core/instants.ts';
import { textsIn } from '../core/keys.ts';
import { type Mapping, tableByName, type TableMapping } from '../core/mapping.ts';
import { backfill, type Wanted } from '../pipelines/backfill.ts';
import { requireOwnGraph } from '../pipelines/same-source.ts';
import { waitForAnswers } from '../pipelines/wait.ts';
import { openDatabase } from '../postgres/client.ts';
import type { RowFilter } from '../postgres/key-pages.ts';
import { inspectSlot } from '../postgres/slot.ts';
import { inspectSource, requirePrimary } from '../postgres/source.ts';
import { typesOf } from './entity-types.ts';
import { enabledGraphContext } from './graph-context.ts';
import { SERVERS, waitSources, withServers } from './graph-reports.ts';

export interface BackfillOptions {
  readonly table?: string;
  readonly entityTypes?: string;
  readonly idsFile?: string;
  readonly changedAfter?: string;
  readonly timezone: string;
  readonly wait: boolean;
  readonly timeout: number;
}

const SAY_EVERY_MS = 10_000;

export async function runBackfill(options: BackfillOptions): Promise<void> {
  const context = enabledGraphContext('backfill', options.wait ? SERVERS : ['DATABASE_URL']);
  const { mapping, databaseUrl, log } = context;
  const wanted = wantedOf(options, mapping);
  const { signal } = new AbortController();
  const runId = randomUUID();
  const sql = openDatabase(databaseUrl);
  try {
    const { slot } = mapping.source;
    requirePrimary(await inspectSource(sql));
    const found = await inspectSlot(sql, slot);
    if (found === null)
      throw new AppError(
        'STREAM_STOPPED',
        `The slot ${slot} does not exist: no publisher has started, or it was dropped.`,
      );
    if (found.activePid === null)
      process.stderr.write('No publisher is running: the requests wait in the WAL until one starts.\n');
    let saidAt = performance.now();
    const done = await backfill(
      {
        sql,
        slot,
        wanted,
        runId,
        onProgress(table, rows) {
          if (performance.now() - saidAt < SAY_EVERY_MS) return;
          saidAt = performance.now();
          log.info({ runId, table, rows }, 'backfill');
        },
      },
      signal,
    );
    for (const [table, rows] of done) {
      process.stdout.write(`${table}: ${rows.asked} rows asked for\n`);
      if (rows.unaskable === 0) continue;
      process.exitCode = 1;
      process.stderr.write(`${table}: ${rows.unaskable} rows have keys that are too long for the graph\n`);
    }
  } finally {
    await sql.close();
  }
  if (!options.wait) return;
  await withServers(context, async (servers) => {
    await requireOwnGraph(servers, mapping, signal);
    await waitForAnswers(waitSources(servers, context), options.timeout * 1000, signal);
  });
}

function wantedOf(options: BackfillOptions, mapping: Mapping): Wanted[] {
  const { table: name, entityTypes, idsFile, changedAfter, timezone } = options;
  if (idsFile !== undefined && (entityTypes !== undefined || changedAfter !== undefined))
    throw new AppError('USAGE', '--ids-file names every row: leave out --entity-types and --changed-after.');
  const onlyEntities = entityTypes !== undefined || idsFile !== undefined;
  const entities = onlyEntities ? entityTable(mapping) : null;
  const tables =
    name === undefined ? (entities === null ? mapping.tables : [entities.mapping]) : [tableOf(name, mapping)];
  const micros = changedAfter === undefined ? null : BigInt(instantOf(changedAfter, timezone)) * 1000n;
  return tables.map((table): Wanted => {
    if (idsFile !== undefined) return { table, which: 'listed', keys: idsOf(idsFile, table) };
    if (entityTypes !== undefined && table !== entities?.mapping)
      throw new AppError('USAGE', `--entity-types: ${table.table} has none.`);
    const filter: RowFilter = {
      types:
        entities === null || entityTypes === undefined
          ? null
          : { column: entities.type.column, values: typesOf(entityTypes, entities) },
      changedAfter: micros === null ? null : { column: updatedColumn(table), micros },
    };
    return filter.types === null && filter.changedAfter === null
      ? { table, which: 'all' }
      : { table, which: 'filtered', filter };
  });
}

function tableOf(name: string, mapping: Mapping): TableMapping {
  const table = tableByName(mapping, name) ?? tableByName(mapping, `public.${name}`);
  if (table !== undefined) return table;
  const known = mapping.tables.map(({ table }) => table).join(', ');
  throw new AppError('USAGE', `--table ${name}: not mapped; the tables are ${known}.`);
}

function updatedColumn({ table, target }: TableMapping): string {
  const column = updatedAtColumn(
    target.kind === 'node' ? target.properties : target.type.otherwise.properties,
  );
  if (column !== null) return column;
  throw new AppError('USAGE', `--changed-after: ${table} has no last_updated_at; name a --table that has.`);
}

/** One id a line; of a composite key the JSON array of its parts. */
function idsOf(path: string, { table, key }: TableMapping): (readonly string[])[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new AppError(
      'USAGE',
      `--ids-file ${path}: it cannot be read (${String((error as NodeJS.ErrnoException).code)}).`,
    );
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  if (lines.length === 0) throw new AppError('USAGE', `--ids-file ${path}: it is empty.`);
  return lines.map((line, i) => {
    const parts = key.length === 1 ? [line.trim()] : textsIn(line);
    if (parts?.length === key.length) return parts;
    throw new AppError(
      'USAGE',
      `--ids-file ${path}: line ${i + 1} is no key of ${table}, which has ${key.length} parts, ` +
        'each a text or a whole number (beyond 2^53 as text).',
    );
  });
}
