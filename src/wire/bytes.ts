/** Small helpers on byte arrays that every protocol here needs. */

/** One array with all parts after each other. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** A copy of a part, also of a Node `Buffer`, whose own `slice` would share memory. */
export function copyBytes(bytes: Uint8Array, start = 0, end = bytes.length): Uint8Array {
  return new Uint8Array(bytes.subarray(start, end));
}

/** Whether both hold the same bytes. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

/** Bytes from hexadecimal digits; white space and colons between them are ignored. */
export function fromHex(text: string): Uint8Array {
  const digits = text.replaceAll(/[\s:]/g, "");
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(digits)) throw new TypeError(`Cannot parse bytes: "${text}" is not hexadecimal`);
  return Uint8Array.from({ length: digits.length / 2 }, (_, index) =>
    Number.parseInt(digits.slice(index * 2, index * 2 + 2), 16),
  );
}

/** Lower-case hexadecimal digits, nothing between them. */
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Unsigned big-endian number of at most 32 bits that starts at any bit. The caller has checked the bounds. */
export function readBits(bytes: Uint8Array, bitOffset: number, bits: number): number {
  const lastBit = bitOffset + bits - 1;
  let value = 0;
  // At most five bytes: 40 bits are exact in a double, where shifts would lose the sign.
  for (let index = bitOffset >> 3; index <= lastBit >> 3; index++) value = value * 256 + (bytes[index] ?? 0);
  return Math.floor(value / 2 ** (7 - (lastBit & 7))) % 2 ** bits;
}

/** Writes what {@link readBits} reads. The bits must be zero before. */
export function writeBits(bytes: Uint8Array, bitOffset: number, bits: number, value: number): void {
  const lastBit = bitOffset + bits - 1;
  let rest = value * 2 ** (7 - (lastBit & 7));
  for (let index = lastBit >> 3; index >= bitOffset >> 3; index--) {
    bytes[index] = (bytes[index] ?? 0) | (rest % 256);
    rest = Math.floor(rest / 256);
  }
}

/** Unsigned big-endian 64-bit number. The caller has checked the bounds. */
export function readU64(bytes: Uint8Array, offset: number): bigint {
  return (BigInt(readBits(bytes, offset * 8, 32)) << 32n) | BigInt(readBits(bytes, offset * 8 + 32, 32));
}

/** Writes what {@link readU64} reads. */
export function writeU64(bytes: Uint8Array, offset: number, value: bigint): void {
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).setBigUint64(offset, value);
}
