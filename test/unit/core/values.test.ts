import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isoTimestamp, timestampMicros, wireEncoder } from '../../../src/core/values.ts';

const OID = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int4: 23,
  text: 25,
  json: 114,
  timestamptz: 1184,
  numeric: 1700,
  jsonb: 3802,
};

describe('on the wire', () => {
  it.each([
    [OID.bool, 't', 'true'],
    [OID.bool, 'f', 'false'],
    [OID.int4, '-2147483648', '-2147483648'],
    [OID.int8, '9007199254740991', '9007199254740991'],
    [OID.int8, '9007199254740992', '"9007199254740992"'],
    [OID.int8, '-9007199254740991', '-9007199254740991'],
    [OID.int8, '-9223372036854775808', '"-9223372036854775808"'],
    [OID.numeric, 'NaN', '"NaN"'],
    [OID.numeric, '12345678901234567890.12', '"12345678901234567890.12"'],
    [OID.json, '{"a":1,"a":2}', String.raw`"{\"a\":1,\"a\":2}"`],
    [OID.bytea, String.raw`\xdeadbeef`, '"3q2+7w=="'],
    [OID.text, 'a"\u2028😀', JSON.stringify('a"\u2028😀')],
    [OID.timestamptz, '2024-01-31 12:00:00+00', '"2024-01-31T12:00:00.000000Z"'],
  ])('type %i: %s becomes %s', (oid, text, wire) => {
    expect(wireEncoder(oid)(text)).toBe(wire);
  });

  it.each([
    ['2024-01-31 12:00:00.12+00', '2024-01-31T12:00:00.120000Z'],
    ['294276-12-31 23:59:59.999999+00', '294276-12-31T23:59:59.999999Z'],
    ['infinity', 'infinity'],
    ['-infinity', '-infinity'],
    ['0044-03-15 00:00:00+00 BC', '0044-03-15 00:00:00+00 BC'],
  ])('timestamp %s becomes %s', (text, iso) => {
    expect(isoTimestamp(text)).toBe(iso);
  });
});

describe('timestamps as microseconds', () => {
  // Expectations: select (extract(epoch from '…'::timestamptz) * 1000000)::numeric(30), by PostgreSQL 18.
  it.each([
    ['1970-01-01T00:00:00.000000Z', 0n],
    ['2024-02-29T23:59:59.999999Z', 1_709_251_199_999_999n],
    ['1969-12-31T23:59:59.999999Z', -1n],
    ['0001-01-01T00:00:00.000000Z', -62_135_596_800_000_000n],
    ['0044-03-15 00:00:00+00 BC', -63_517_824_000_000_000n],
    ['4713-01-01 00:00:00+00 BC', -210_863_520_000_000_000n],
    ['infinity', 9_223_372_036_854_775_807n],
    ['-infinity', -9_223_372_036_854_775_808n],
    ['294276-12-31T23:59:59.999999Z', 9_223_372_036_854_775_807n],
  ])('%s', (text, micros) => {
    expect(timestampMicros(text)).toBe(micros);
  });

  it('agrees with Date wherever Date reaches', () => {
    fc.assert(
      fc.property(
        fc.date({ noInvalidDate: true, min: new Date('0001-01-01'), max: new Date('9999-12-31') }),
        (date) => {
          const text = date.toISOString().replace('Z', '321Z');
          expect(timestampMicros(text)).toBe(BigInt(date.getTime()) * 1000n + 321n);
        },
      ),
    );
  });

  it.each(['', 'yesterday', '2024-01-31', '2024-01-31T12:00:00+02'])('%j is none', (text) => {
    expect(timestampMicros(text)).toBeNull();
  });
});
