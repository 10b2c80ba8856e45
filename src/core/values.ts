/**
 * Values on the wire (design §8): from PostgreSQL's text to JSON text without passing through a JavaScript number or
 * Date, so that every byte survives; and timestamps from the wire to integer microseconds.
 */

/** Turns a column's text, as PostgreSQL writes it, into JSON text. */
export type WireEncoder = (text: string) => string;

const OID = { bool: 16, bytea: 17, int8: 20, int2: 21, int4: 23, timestamptz: 1184 } as const;

export function wireEncoder(typeOid: number): WireEncoder {
  switch (typeOid) {
    case OID.bool:
      return (text) => (text === 't' ? 'true' : 'false');
    case OID.int2:
    case OID.int4:
      return (text) => text;
    case OID.int8:
      return wireInteger;
    case OID.bytea:
      return (text) => JSON.stringify(Buffer.from(text.slice(2), 'hex').toString('base64'));
    case OID.timestamptz:
      return (text) => `"${isoTimestamp(text)}"`;
    default:
      return JSON.stringify;
  }
}

/** A number within ±(2^53−1), a string beyond: what every JSON reader can hold. */
export function wireInteger(text: string): string {
  return text.length < 16 || Number.isSafeInteger(Number(text)) ? text : `"${text}"`;
}

/**
 * `2024-01-31 12:00:00.5+00` → `2024-01-31T12:00:00.500000Z`. Infinity and BC stay as PostgreSQL writes them.
 * The session's time zone is UTC (the stream sets it), so the offset is always `+00`.
 */
export function isoTimestamp(text: string): string {
  if (!text.endsWith('+00')) return text;
  const space = text.indexOf(' ');
  const point = text.indexOf('.', space);
  const seconds = point === -1 ? text.slice(space + 1, -3) : text.slice(space + 1, point);
  const fraction = point === -1 ? '' : text.slice(point + 1, -3);
  return `${text.slice(0, space)}T${seconds}.${fraction.padEnd(6, '0')}Z`;
}

const INT64_MAX = 9_223_372_036_854_775_807n;
const INT64_MIN = -9_223_372_036_854_775_808n;
const TIMESTAMP = /^\d{4,}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00)(?: BC)?$/;

/**
 * Microseconds since the Unix epoch, by the proleptic Gregorian calendar as PostgreSQL counts it. ±infinity, and what
 * does not fit 64 bits, saturate. Null if the text is no timestamp. One function for both sides of every comparison.
 */
export function timestampMicros(text: string): bigint | null {
  if (text === 'infinity') return INT64_MAX;
  if (text === '-infinity') return INT64_MIN;
  if (!TIMESTAMP.test(text)) return null;
  // By place: groups would be seven more strings for each of millions of timestamps.
  const dash = text.indexOf('-');
  const two = (at: number): number => digits(text, dash + at, dash + at + 2);
  const year = digits(text, 0, dash);
  const days = daysSinceEpoch(text.endsWith('BC') ? 1 - year : year, two(1), two(4));
  const seconds = days * 86_400 + two(7) * 3600 + two(10) * 60 + two(13);
  const part = text[dash + 15] === '.' ? millionths(text, dash + 16) : 0;
  const near = seconds * 1_000_000 + part;
  if (Number.isSafeInteger(near)) return BigInt(near);
  const micros = BigInt(seconds) * 1_000_000n + BigInt(part);
  return micros > INT64_MAX ? INT64_MAX : micros < INT64_MIN ? INT64_MIN : micros;
}

const ZERO = 48;

function digits(text: string, from: number, to: number): number {
  let value = 0;
  for (let i = from; i < to; i++) value = value * 10 + text.charCodeAt(i) - ZERO;
  return value;
}

/** The digits from there on, to the first that is none, as a fraction. */
function millionths(text: string, from: number): number {
  let value = 0;
  for (let i = from; i < from + 6; i++) {
    const digit = text.charCodeAt(i) - ZERO;
    if (!(digit >= 0 && digit <= 9)) return value * 10 ** (from + 6 - i);
    value = value * 10 + digit;
  }
  return value;
}

/** Howard Hinnant's days_from_civil: years of 400-year eras that begin on 1 March. */
function daysSinceEpoch(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}
