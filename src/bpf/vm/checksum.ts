/** One's-complement sums as the kernel computes them (include/net/checksum.h), in 32 bits with the carry added back. */

export function sumAdd(a: number, b: number): number {
  const sum = a + b;
  return sum > 0xffff_ffff ? sum - 0xffff_ffff : sum;
}

export function sumSubtract(a: number, b: number): number {
  return sumAdd(a, ~b >>> 0);
}

/** To 16 bits, not inverted. */
export function fold(sum: number): number {
  let folded = (sum & 0xffff) + (sum >>> 16);
  folded = (folded & 0xffff) + (folded >>> 16);
  return folded & 0xffff;
}

/**
 * Adds bytes to a sum as little-endian 32-bit words, `csum_partial` on this byte order. Sums of wider or narrower words
 * are equal modulo 0xffff, but not in which of the two zeros they become when folded.
 */
export function sumBytes(bytes: Uint8Array, seed: number): number {
  let sum = seed;
  for (let i = 0; i < bytes.length; i += 4) {
    const word = bytes[i] | ((bytes[i + 1] ?? 0) << 8) | ((bytes[i + 2] ?? 0) << 16) | ((bytes[i + 3] ?? 0) << 24);
    sum = sumAdd(sum, word >>> 0);
  }
  return sum;
}

/** `csum_replace_by_diff`: a checksum field after a change of `difference`. */
export function replaceByDifference(checksum: number, difference: number): number {
  return ~fold(sumAdd(difference, ~checksum >>> 0)) & 0xffff;
}

/** `csum_replace4`: a checksum field after a 32-bit word changed. */
export function replaceWord(checksum: number, from: number, to: number): number {
  return ~fold(sumAdd(sumSubtract(~checksum >>> 0, from), to)) & 0xffff;
}

function add16(a: number, b: number): number {
  const sum = a + b;
  return (sum & 0xffff) + (sum >>> 16);
}

/** `csum_replace2`: a checksum field after a 16-bit word changed. */
export function replaceHalfWord(checksum: number, from: number, to: number): number {
  return ~add16(add16(~checksum & 0xffff, ~from & 0xffff), to) & 0xffff;
}
