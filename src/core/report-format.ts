/** A report as JSON or as lines, in pieces: it may be of any size, so it is written as it is read. */
import { batchesOf } from './batches.ts';

type Scalar = string | number | boolean | null;
export type Json = Scalar | readonly Json[] | { readonly [name: string]: Json };

export interface List<T extends Json = Json> {
  readonly count: number;
  /** In the report's order, each time from the first. */
  readonly items: () => AsyncIterable<T>;
}

/** An object of which there is more than fits in memory. */
export interface Entries {
  readonly count: number;
  readonly entries: () => AsyncIterable<readonly [name: string, value: Json]>;
}

export interface Fields {
  readonly [name: string]: Field;
}

export type Field = number | List | Entries | Fields;

const AT_ONCE = 1000;
/** Line breaks, controls, and what turns the direction of text. */
const UNSAFE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

/** As `JSON.stringify(…, null, 2)` writes it. */
export async function* formatJson(report: Fields): AsyncGenerator<string> {
  yield* jsonOf(report, '\n');
  yield '\n';
}

/**
 * A list as its count, then its items one a line; an object as its names, each before what it holds. Nothing that is
 * reported can look like a line, or a text, that it is not.
 */
export async function* formatText(report: Fields): AsyncGenerator<string> {
  for (const [name, field] of Object.entries(report)) yield* textOf(name, field, '');
}

/** `line`: a line break, and the indentation behind it. */
async function* jsonOf(field: Field, line: string): AsyncGenerator<string> {
  const inner = `${line}  `;
  const json = (value: Json) => JSON.stringify(value, null, 2).replaceAll('\n', inner);
  if (typeof field === 'number') yield String(field);
  else if (isList(field)) {
    yield* enclosed('[', field.items(), ']', line, json);
  } else if (isEntries(field)) {
    yield* enclosed(
      '{',
      field.entries(),
      '}',
      line,
      ([name, value]) => `${JSON.stringify(name)}: ${json(value)}`,
    );
  } else {
    let opening = '{';
    for (const [name, part] of Object.entries(field)) {
      yield `${opening}${inner}${JSON.stringify(name)}: `;
      opening = ',';
      yield* jsonOf(part, inner);
    }
    yield `${line}}`;
  }
}

async function* enclosed<T>(
  opening: '[' | '{',
  items: AsyncIterable<T>,
  closing: ']' | '}',
  line: string,
  json: (item: T) => string,
): AsyncGenerator<string> {
  let before: string = opening;
  for await (const some of batchesOf(items, AT_ONCE)) {
    yield some.map((item, i) => `${i === 0 ? before : ','}${line}  ${json(item)}`).join('');
    before = ',';
  }
  yield before === opening ? `${opening}${closing}` : `${line}${closing}`;
}

async function* textOf(name: string, field: Field, indent: string): AsyncGenerator<string> {
  const inner = `${indent}  `;
  if (typeof field === 'number') yield `${indent}${name}: ${field}\n`;
  else if (isList(field)) {
    yield `${indent}${name}: ${field.count}\n`;
    for await (const some of batchesOf(field.items(), AT_ONCE))
      yield some
        .map((item) => `${inner}${typeof item === 'string' ? lineOf(item) : inLine(item)}\n`)
        .join('');
  } else if (isEntries(field)) {
    yield `${indent}${name}: ${field.count}\n`;
    for await (const [key, value] of field.entries())
      yield `${inner}${lineOf(key)}\n${linesOf(value, `${inner}  `)}`;
  } else {
    yield `${indent}${name}:\n`;
    for (const [key, part] of Object.entries(field)) yield* textOf(key, part, inner);
  }
}

/** Scalars as JSON, so that each is one line whatever it holds. */
function linesOf(value: Json, indent: string): string {
  return Object.entries(value ?? {})
    .map(([name, part]: [string, Json]) =>
      typeof part === 'object' && part !== null
        ? `${indent}${lineOf(name)}\n${linesOf(part, `${indent}  `)}`
        : `${indent}${lineOf(name)}: ${inLine(part)}\n`,
    )
    .join('');
}

/** As it is, unless it would end the line, steer a terminal, or seem to be what is quoted here: then as JSON. */
function lineOf(text: string): string {
  return text.startsWith('"') || text.search(UNSAFE) !== -1 ? inLine(text) : text;
}

/** JSON, which allows some of these. */
function inLine(value: Json): string {
  return JSON.stringify(value).replaceAll(
    UNSAFE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function isList(field: Exclude<Field, number>): field is List {
  return 'items' in field && typeof field.items === 'function';
}

function isEntries(field: Exclude<Field, number>): field is Entries {
  return 'entries' in field && typeof field.entries === 'function';
}
