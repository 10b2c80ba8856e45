/**
 * The file beside the report that a check of sync-data leaves what it finds in, line by line, so that it can go on after
 * a crash (`--resume`). Lines are whole: what is behind the last line break was being written, and does not count. What is
 * read is the file that was opened, whatever is at its path by then.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, type FileHandle, lstat, open, rm } from 'node:fs/promises';
import { parseHeader, parseSpoolLine, type SpoolHeader, type SpoolLine } from '../core/check-spool.ts';
import { AppError, isAppError } from '../core/errors.ts';
import type { Spool } from '../pipelines/reconcile/check.ts';
import { obstacleAt } from './replaceable.ts';

export interface SpoolFile {
  /**
   * `of`: everything that decides what a check finds. `still`: what must not have moved since, if anything. Throws USAGE if
   * what is to be resumed is of something else, or from before it moved.
   */
  readonly open: (of: Readonly<Record<string, unknown>>, still?: string | null) => Promise<Spool>;
}

const OWNER_ONLY = 0o600;
const LINE_BREAK = 0x0a;
const CHUNK_BYTES = 64 * 1024;

/** Throws USAGE if there is nothing to resume, or what is there could not be replaced. */
export async function spoolFile(resultsFile: string, resume: boolean): Promise<SpoolFile> {
  const path = `${resultsFile}.resume`;
  const obstacle = await obstacleAt(path);
  if (obstacle !== null) throw new AppError('USAGE', `${path}: ${obstacle}.`);
  if (resume)
    await access(path, constants.R_OK | constants.W_OK).catch((error: unknown) => {
      throw new AppError('USAGE', `--resume: there is no ${path} to go on from (${codeOf(error)}).`);
    });
  return {
    async open(of, still = null) {
      const header: SpoolHeader = {
        v: 1,
        of: digest(JSON.stringify(of)),
        ...(still === null ? {} : { still: digest(still) }),
      };
      try {
        return spoolOf(path, resume ? await reopened(path, header) : await created(path, header));
      } catch (error) {
        throw failed(path, error);
      }
    },
  };
}

/** Never what a link leads to. */
async function created(path: string, header: SpoolHeader): Promise<FileHandle> {
  await rm(path, { force: true });
  const file = await open(path, 'ax+', OWNER_ONLY);
  await file.appendFile(`${JSON.stringify(header)}\n`);
  return file;
}

async function reopened(path: string, header: SpoolHeader): Promise<FileHandle> {
  const { O_RDWR, O_APPEND, O_NOFOLLOW } = constants;
  const file = await open(path, O_RDWR | O_APPEND | O_NOFOLLOW);
  try {
    let length = 0;
    for await (const { text, end } of wholeLines(file)) {
      if (length === 0) requireSame(path, header, parseHeader(text));
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

function requireSame(path: string, header: SpoolHeader, found: SpoolHeader | null): void {
  const why =
    found?.of !== header.of
      ? 'is of other options, of another source or of another graph'
      : found.still !== header.still
        ? 'is from before the stream ran: what it found may be mended by now'
        : null;
  if (why === null) return;
  throw new AppError('USAGE', `--resume: ${path} ${why}. Leave --resume out to start again.`);
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
    lines: () => linesOf(path, file),
    async remove() {
      const [ours, there] = [await file.stat(), await lstat(path).catch(() => null)];
      if (there?.dev === ours.dev && there.ino === ours.ino) await rm(path, { force: true });
    },
    close: () => file.close(),
  };
}

async function* linesOf(path: string, file: FileHandle): AsyncGenerator<SpoolLine> {
  let first = true;
  for await (const { text } of wholeLines(file)) {
    if (!first) {
      const line = parseSpoolLine(text);
      if (line === null)
        throw new AppError('USAGE', `${path} is damaged. Leave --resume out to start again.`);
      yield line;
    }
    first = false;
  }
}

async function* wholeLines(
  file: FileHandle,
): AsyncGenerator<{ readonly text: string; readonly end: number }> {
  let rest: Buffer[] = [];
  for (let offset = 0; ;) {
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, offset);
    if (bytesRead === 0) return;
    const chunk = buffer.subarray(0, bytesRead);
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

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function failed(path: string, error: unknown): AppError {
  if (isAppError(error)) return error;
  return new AppError('REPORT_FAILED', `${path} could not be written (${codeOf(error)}).`, { cause: error });
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown';
}
