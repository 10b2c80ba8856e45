/** The report file of sync-data: found to be writable before anything is read, then there as a whole or not at all. */
import { randomBytes } from 'node:crypto';
import { lstat, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { AppError } from '../core/errors.ts';
import type { CheckReport } from '../core/check-report.ts';
import { type Fields, formatJson, formatText } from '../core/report-format.ts';
import { claimPath } from './path-claim.ts';
import { obstacleAt } from './replaceable.ts';

export interface ReportFile {
  /** Durable when resolved. */
  readonly write: (report: CheckReport) => Promise<void>;
  /** Another run may have the path. */
  readonly close: () => Promise<void>;
}

const FORMATS: ReadonlyMap<string, (report: Fields) => AsyncIterable<string>> = new Map([
  ['.json', formatJson],
  ['.txt', formatText],
]);
const OWNER_ONLY = 0o600;
const RANDOM_BYTES = 6;
const RANDOM = /^[0-9a-f]{12}$/;

/** Throws USAGE if the file could not be written, ALREADY_RUNNING if another run of this host has it. */
export async function reportFile(path: string): Promise<ReportFile> {
  const format = FORMATS.get(extname(path));
  if (format === undefined) throw unusable(path, 'its extension must be .json or .txt');
  const obstacle = await obstacleAt(path);
  if (obstacle !== null) throw unusable(path, obstacle);
  const folder = dirname(path);
  const temporary = join(folder, `.${basename(path)}.${randomBytes(RANDOM_BYTES).toString('hex')}`);
  try {
    await (await open(temporary, 'wx', OWNER_ONLY)).close();
    await rm(temporary);
    await (await open(folder, 'r')).close();
  } catch (error) {
    throw unusable(path, `its folder cannot be written and read (${codeOf(error)})`);
  }
  const claim = await claimPath(path);
  await removeLeftovers(path);

  return {
    async write(report) {
      try {
        const file = await open(temporary, 'wx', OWNER_ONLY);
        try {
          for await (const piece of format({ ...report })) await file.appendFile(piece);
          await file.sync();
        } finally {
          await file.close();
        }
        await rename(temporary, path);
        const entries = await open(folder, 'r');
        await entries.sync().finally(() => entries.close());
      } catch (error) {
        await rm(temporary, { force: true });
        throw new AppError('REPORT_FAILED', `The report ${path} could not be written (${codeOf(error)}).`, {
          cause: error,
        });
      }
    },
    close: claim.release,
  };
}

/** What runs with this path had begun to write when they were killed: our own files of just such names. */
async function removeLeftovers(path: string): Promise<void> {
  const folder = dirname(path);
  const prefix = `.${basename(path)}.`;
  for (const name of await readdir(folder)) {
    if (!name.startsWith(prefix) || !RANDOM.test(name.slice(prefix.length))) continue;
    const leftover = join(folder, name);
    const there = await lstat(leftover).catch(() => null);
    if (there?.isFile() === true && there.uid === process.geteuid?.()) await rm(leftover, { force: true });
  }
}

function unusable(path: string, why: string): AppError {
  return new AppError('USAGE', `--check-results-file ${path}: ${why}.`);
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown';
}
