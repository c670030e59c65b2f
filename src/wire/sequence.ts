/** Serial number arithmetic (RFC 1982, RFC 9293 §3.4) on 32-bit TCP and 64-bit data sequence numbers. */

/** `a + b` modulo 2³²; `b` may be negative. */
export function add32(a: number, b: number): number {
  return (a + b) >>> 0;
}

/** How far `a` is ahead of `b`, from -2³¹ to 2³¹ - 1. */
export function difference32(a: number, b: number): number {
  return (a - b) | 0;
}

/** Whether `a` comes before `b`. */
export function before32(a: number, b: number): boolean {
  return difference32(a, b) < 0;
}

/** Whether `value` is in the window of `length` numbers that starts at `start`. */
export function inWindow32(value: number, start: number, length: number): boolean {
  return (value - start) >>> 0 < length;
}

/** `a + b` modulo 2⁶⁴; `b` may be negative. */
export function add64(a: bigint, b: bigint): bigint {
  return BigInt.asUintN(64, a + b);
}

/** How far `a` is ahead of `b`, from -2⁶³ to 2⁶³ - 1. */
export function difference64(a: bigint, b: bigint): bigint {
  return BigInt.asIntN(64, a - b);
}

/** Whether `a` comes before `b`. */
export function before64(a: bigint, b: bigint): boolean {
  return difference64(a, b) < 0n;
}

/** Whether `value` is in the window of `length` numbers that starts at `start`. */
export function inWindow64(value: bigint, start: bigint, length: bigint): boolean {
  return BigInt.asUintN(64, value - start) < length;
}

/** The 64-bit number nearest to `reference` whose lower half is `low`: what a 4-byte DSN or data ACK stands for. */
export function expandSequence(low: number, reference: bigint): bigint {
  const distance = difference32(low, Number(BigInt.asUintN(32, reference)));
  return add64(reference, BigInt(distance));
}
