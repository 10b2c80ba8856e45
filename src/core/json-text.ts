/**
 * Lifts a value out of JSON text with the meaning of PostgreSQL's `#>>`: a string unescaped, null as null, anything
 * else as its exact text. Scans instead of parsing, so a number keeps its digits and a 20 kB description costs a jump.
 */

/** The value at `path`, through objects only; null where it is absent, JSON null, or the text is not well-formed. */
export function jsonTextAt(json: string, path: readonly string[]): string | null {
  let at = skipSpace(json, 0);
  for (const key of path) {
    at = memberOf(json, at, key);
    if (at === -1) return null;
  }
  const end = skipValue(json, at);
  if (end === -1) return null;
  if (json.charCodeAt(at) === QUOTE) return unescape(json, at, end);
  const text = json.slice(at, end);
  return text === 'null' ? null : text;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Start of the value of the last member called `key` (the last one counts, as in PostgreSQL), or -1. */
function memberOf(json: string, start: number, key: string): number {
  if (json[start] !== '{') return -1;
  let found = -1;
  let at = skipSpace(json, start + 1);
  while (json.charCodeAt(at) === QUOTE) {
    const keyEnd = skipString(json, at);
    if (keyEnd === -1) return -1;
    const value = skipSpace(json, skipSpace(json, keyEnd) + 1);
    if (unescape(json, at, keyEnd) === key) found = value;
    const end = skipValue(json, value);
    if (end === -1) return -1;
    at = skipSpace(json, end);
    if (json[at] !== ',') break;
    at = skipSpace(json, at + 1);
  }
  return found;
}

/** Index after the value that starts at `start`, or -1 if the text ends within it. */
function skipValue(json: string, start: number): number {
  const first = json[start];
  if (first === '"') return skipString(json, start);
  if (first === '{' || first === '[') return skipNested(json, start);
  let at = start;
  while (at < json.length && !',]} \t\r\n'.includes(json.charAt(at))) at++;
  return at === start ? -1 : at;
}

function skipNested(json: string, start: number): number {
  let depth = 0;
  for (let at = start; at < json.length; at++) {
    const c = json[at];
    if (c === '"') {
      const end = skipString(json, at);
      if (end === -1) return -1;
      at = end - 1;
    } else if (c === '{' || c === '[') depth++;
    else if ((c === '}' || c === ']') && --depth === 0) return at + 1;
  }
  return -1;
}

function skipString(json: string, start: number): number {
  let end = json.indexOf('"', start + 1);
  while (end !== -1 && escaped(json, end)) end = json.indexOf('"', end + 1);
  return end === -1 ? -1 : end + 1;
}

function escaped(json: string, quote: number): boolean {
  let backslashes = 0;
  while (json.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes++;
  return backslashes % 2 === 1;
}

function unescape(json: string, start: number, end: number): string {
  const raw = json.slice(start + 1, end - 1);
  return raw.includes('\\') ? (JSON.parse(json.slice(start, end)) as string) : raw;
}

function skipSpace(json: string, start: number): number {
  let at = start;
  while (at < json.length && ' \t\r\n'.includes(json.charAt(at))) at++;
  return at;
}
