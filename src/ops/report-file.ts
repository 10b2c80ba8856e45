/** The report file of sync-data: found to be writable before anything is read, then there as a whole or not at all. */
import { randomBytes } from 'node:crypto';
import { open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { AppError } from '../core/errors.ts';
import type { CheckReport } from '../core/check-report.ts';
import { type Fields, formatJson, formatText } from '../core/report-format.ts';

export interface ReportFile {
  /** Durable when resolved. */
  readonly write: (report: CheckReport) => Promise<void>;
}

const FORMATS: ReadonlyMap<string, (report: Fields) => AsyncIterable<string>> = new Map([
  ['.json', formatJson],
  ['.txt', formatText],
]);
const OWNER_ONLY = 0o600;

/** Throws USAGE if the file could not be written. */
export async function reportFile(path: string): Promise<ReportFile> {
  const format = FORMATS.get(extname(path));
  if (format === undefined) throw unusable(path, 'its extension must be .json or .txt');
  const there = await stat(path).catch(() => null);
  if (there?.isDirectory() === true) throw unusable(path, 'it is a directory');
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  try {
    await (await open(temporary, 'wx', OWNER_ONLY)).close();
    await rm(temporary);
  } catch (error) {
    throw unusable(path, `its folder cannot be written (${codeOf(error)})`);
  }

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
        const folder = await open(dirname(path), 'r');
        await folder.sync().finally(() => folder.close());
      } catch (error) {
        await rm(temporary, { force: true });
        throw new AppError('REPORT_FAILED', `The report ${path} could not be written (${codeOf(error)}).`, {
          cause: error,
        });
      }
    },
  };
}

function unusable(path: string, why: string): AppError {
  return new AppError('USAGE', `--check-results-file ${path}: ${why}.`);
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown';
}
