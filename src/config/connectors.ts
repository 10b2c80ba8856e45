/** Reads the connector files of a folder and compiles them. All problems of all files are reported at once. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { AppError } from '../core/errors.ts';
import { compileMapping, type Mapping, type MappingProblem } from '../core/mapping.ts';
import { sinkFile, sourceFile, tableFile } from '../core/mapping-schema.ts';

const SOURCE = 'source.postgres.json';
const SINK = 'sink.neo4j.json';

/** Throws CONFIG_INVALID with one line per problem: file, path in it, and the fix. */
export function loadMapping(folder: string): Mapping {
  const problems: MappingProblem[] = [];
  const source = readConnector(folder, SOURCE, sourceFile, problems);
  const sink = readConnector(folder, SINK, sinkFile, problems);
  const tables = tableFiles(folder, problems).map((file) => ({
    file,
    content: readConnector(folder, file, tableFile, problems),
  }));
  const whole = tables.flatMap(({ file, content }) => (content === null ? [] : [{ file, content }]));
  if (source !== null && sink !== null && whole.length === tables.length) {
    const compiled = compileMapping({
      source: { file: SOURCE, content: source },
      sink: { file: SINK, content: sink },
      tables: whole,
    });
    problems.push(...compiled.problems);
    if (problems.length === 0) return compiled.mapping;
  }
  const lines = problems.map(
    ({ file, path, message }) => `  ${join(folder, file)}${path === '' ? '' : ` at ${path}`}: ${message}`,
  );
  throw new AppError('CONFIG_INVALID', `The connector files are not valid:\n${lines.join('\n')}\n`);
}

function tableFiles(folder: string, problems: MappingProblem[]): string[] {
  try {
    const names = readdirSync(join(folder, 'entities')).filter((name) => name.endsWith('.json'));
    return names.sort().map((name) => join('entities', name));
  } catch {
    problems.push({
      file: 'entities',
      path: '',
      message: 'the folder cannot be read: create it, with one file per table',
    });
    return [];
  }
}

function readConnector<T>(
  folder: string,
  file: string,
  schema: z.ZodType<T>,
  problems: MappingProblem[],
): T | null {
  let text: string;
  try {
    text = readFileSync(join(folder, file), 'utf8');
  } catch {
    problems.push({ file, path: '', message: 'the file cannot be read: create it, or set CONNECTORS_DIR' });
    return null;
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    const where = error instanceof Error ? /at position \d+.*$/.exec(error.message)?.[0] : undefined;
    problems.push({
      file,
      path: '',
      message: `the file is not JSON${where === undefined ? '' : ` (${where})`}: correct its syntax`,
    });
    return null;
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues) {
    problems.push({ file, path: issue.path.map(String).join('.'), message: fix(issue) });
  }
  return null;
}

function fix(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys') return `unknown key ${issue.keys.join(', ')}: remove or rename it`;
  return issue.message;
}
