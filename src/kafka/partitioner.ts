/** Kafka's default partitioner (murmur2 of the key's bytes), so that every client puts a key where we put it. */
const SEED = 0x9747b28c;
const M = 0x5bd1e995;

/** The partition of the key `bytes[0, length)`. */
export function partitionOf(bytes: Buffer, length: number, partitions: number): number {
  return (murmur2(bytes, length) & 0x7fffffff) % partitions;
}

function murmur2(bytes: Buffer, length: number): number {
  let h = SEED ^ length;
  const whole = length & ~3;
  for (let i = 0; i < whole; i += 4) {
    const k = Math.imul(bytes.readInt32LE(i), M);
    h = Math.imul(h, M) ^ Math.imul(k ^ (k >>> 24), M);
  }
  const rest = length - whole;
  if (rest === 3) h ^= bytes.readUInt8(whole + 2) << 16;
  if (rest >= 2) h ^= bytes.readUInt8(whole + 1) << 8;
  if (rest >= 1) h = Math.imul(h ^ bytes.readUInt8(whole), M);
  h = Math.imul(h ^ (h >>> 13), M);
  return h ^ (h >>> 15);
}
