/** A PostgreSQL log sequence number: byte offset into the WAL. Shown to people as `X/Y`, computed with as a bigint. */
export type Lsn = bigint & { readonly __lsn: unique symbol };

export const LSN_ZERO = lsn(0n);

const TEXT = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/;

export function lsn(value: bigint): Lsn {
  if (value < 0n || value > 0xffff_ffff_ffff_ffffn)
    throw new RangeError('an LSN is an unsigned 64-bit number');
  return value as Lsn;
}

/** Parses PostgreSQL's `X/Y`. Throws RangeError on anything else. */
export function parseLsn(text: string): Lsn {
  const match = TEXT.exec(text);
  if (match?.[1] === undefined || match[2] === undefined)
    throw new RangeError('an LSN is written X/Y in hexadecimal');
  return lsn((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`));
}

export function formatLsn(value: Lsn): string {
  return `${(value >> 32n).toString(16).toUpperCase()}/${(value & 0xffff_ffffn).toString(16).toUpperCase()}`;
}

export function maxLsn(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b;
}
