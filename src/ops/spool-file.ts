/**
 * The file beside the report that a check of sync-data leaves what it finds in, line by line, so that it can go on after
 * a crash (`--resume`). Lines are whole: what is behind the last line break was being written, and does not count.
 */
import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { access, type FileHandle, open, rm } from 'node:fs/promises';
import { parseHeader, parseSpoolLine, type SpoolLine } from '../core/check-spool.ts';
import { AppError, isAppError } from '../core/errors.ts';
import type { Spool } from '../pipelines/reconcile/check.ts';

export interface SpoolFile {
  /** `of`: everything that decides what a check finds. Throws USAGE if what is to be resumed is of something else. */
  readonly open: (of: Readonly<Record<string, unknown>>) => Promise<Spool>;
}

const OWNER_ONLY = 0o600;
const LINE_BREAK = 0x0a;

/** Throws USAGE if there is nothing to resume. */
export async function spoolFile(resultsFile: string, resume: boolean): Promise<SpoolFile> {
  const path = `${resultsFile}.resume`;
  if (resume)
    await access(path).catch((error: unknown) => {
      throw new AppError('USAGE', `--resume: there is no ${path} to go on from (${codeOf(error)}).`);
    });
  return {
    async open(of) {
      const hash = createHash('sha256').update(JSON.stringify(of)).digest('hex');
      try {
        return spoolOf(path, resume ? await reopened(path, hash) : await created(path, hash));
      } catch (error) {
        throw failed(path, error);
      }
    },
  };
}

/** Never what a link leads to. */
async function created(path: string, of: string): Promise<FileHandle> {
  await rm(path, { force: true });
  const file = await open(path, 'ax', OWNER_ONLY);
  await file.appendFile(`${JSON.stringify({ v: 1, of })}\n`);
  return file;
}

async function reopened(path: string, of: string): Promise<FileHandle> {
  const { O_RDWR, O_APPEND, O_NOFOLLOW } = constants;
  const file = await open(path, O_RDWR | O_APPEND | O_NOFOLLOW);
  try {
    let length = 0;
    for await (const { text, end } of wholeLines(path)) {
      if (length === 0 && parseHeader(text)?.of !== of)
        throw new AppError(
          'USAGE',
          `--resume: ${path} is of other options, of another source or of another graph. Leave --resume out to start again.`,
        );
      length = end;
    }
    if (length === 0) throw new AppError('USAGE', `--resume: ${path} has nothing to go on from.`);
    await file.truncate(length);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

function spoolOf(path: string, file: FileHandle): Spool {
  let written: Promise<void> = Promise.resolve();
  return {
    append(line) {
      // One after the other; once one has failed, nothing follows what may be half a line.
      written = written.then(async () => {
        try {
          await file.appendFile(`${JSON.stringify(line)}\n`);
        } catch (error) {
          throw failed(path, error);
        }
      });
      return written;
    },
    lines: () => linesOf(path),
    remove: () => rm(path, { force: true }),
    close: () => file.close(),
  };
}

async function* linesOf(path: string): AsyncGenerator<SpoolLine> {
  let first = true;
  for await (const { text } of wholeLines(path)) {
    if (!first) {
      const line = parseSpoolLine(text);
      if (line === null)
        throw new AppError('USAGE', `${path} is damaged. Leave --resume out to start again.`);
      yield line;
    }
    first = false;
  }
}

async function* wholeLines(path: string): AsyncGenerator<{ readonly text: string; readonly end: number }> {
  let rest: Buffer[] = [];
  let offset = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let from = 0;
    for (let at = chunk.indexOf(LINE_BREAK); at !== -1; at = chunk.indexOf(LINE_BREAK, from)) {
      const text = Buffer.concat([...rest, chunk.subarray(from, at)]).toString('utf8');
      rest = [];
      from = at + 1;
      yield { text, end: offset + from };
    }
    rest.push(chunk.subarray(from));
    offset += chunk.length;
  }
}

function failed(path: string, error: unknown): AppError {
  if (isAppError(error)) return error;
  return new AppError('REPORT_FAILED', `${path} could not be written (${codeOf(error)}).`, { cause: error });
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown';
}
