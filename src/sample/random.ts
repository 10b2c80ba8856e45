/**
 * Randomness that is a function of `(seed, stream, index)`: any row can be computed by itself, in any order, without
 * remembering the others. That keeps the generator's memory flat at any size. Not for secrets.
 */
export interface Random {
  /** A whole number in [0, 2^32). */
  readonly word: () => number;
  /** In [0, 1). */
  readonly fraction: () => number;
  /** A whole number in [0, limit). */
  readonly below: (limit: number) => number;
  readonly chance: (probability: number) => boolean;
  readonly pick: <T>(choices: readonly [T, ...T[]]) => T;
  /** A version 4 UUID. */
  readonly uuid: () => string;
}

/** sfc32, seeded through the finaliser of MurmurHash3. */
export function random(seed: number, stream: number, index: number): Random {
  let a = mix(seed ^ 0x9e37_79b9);
  let b = mix(stream ^ a);
  let c = mix(index ^ b);
  let counter = 1;
  const word = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  // Neighbouring seeds differ in few bits; after twelve rounds they have nothing in common.
  for (let round = 0; round < 12; round++) word();

  const fraction = (): number => word() / 4_294_967_296;
  const below = (limit: number): number => Math.floor(fraction() * limit);
  return {
    word,
    fraction,
    below,
    chance: (probability) => fraction() < probability,
    pick: (choices) => choices[below(choices.length)] ?? choices[0],
    uuid: () => {
      const hex = word8(word()) + word8(word()) + word8(word()) + word8(word());
      const variant = '89ab'.charAt(Number.parseInt(hex.charAt(16), 16) & 3);
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
    },
  };
}

function word8(value: number): string {
  return value.toString(16).padStart(8, '0');
}

function mix(value: number): number {
  let hash = value | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return hash ^ (hash >>> 16);
}

/**
 * Ranks in [0, size), the first by far the most frequent: P(rank) ~ 1 / (rank + 1)^exponent. Constant time and memory
 * by rejection-inversion (Hörmann and Derflinger, 1996). The exponent must not be 1.
 */
export function zipf(size: number, exponent: number): (random: Random) => number {
  const power = 1 - exponent;
  const density = (x: number): number => x ** -exponent;
  const integral = (x: number): number => (x ** power - 1) / power;
  const inverse = (y: number): number => (1 + y * power) ** (1 / power);
  const low = integral(1.5) - 1;
  const high = integral(size + 0.5);
  const shortcut = 2 - inverse(integral(2.5) - density(2));
  return ({ fraction }) => {
    for (;;) {
      const y = high + fraction() * (low - high);
      const x = inverse(y);
      const rank = Math.min(Math.max(Math.round(x), 1), size);
      if (rank - x <= shortcut || y >= integral(rank + 0.5) - density(rank)) return rank - 1;
    }
  };
}
