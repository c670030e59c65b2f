/** The Internet checksum (RFC 1071), that of TCP and UDP over IPv4 and IPv6, and its incremental update (RFC 1624). */
import { WireError, type WireLayer } from "./errors.ts";

const fold = (sum: number): number => {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return folded;
};

const swapped = (sum: number): number => ((sum & 0xff) << 8) | (sum >> 8);

/** One's complement sum of 16-bit words, folded to 16 bits; an odd last byte counts as the high half of a word. */
export function onesComplementSum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let index = 0; index + 1 < bytes.length; index += 2) sum += ((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0);
  if (bytes.length % 2 === 1) sum += (bytes.at(-1) ?? 0) << 8;
  return fold(sum);
}

/** The 16-bit checksum of `bytes` (RFC 1071). Zero over bytes that already hold their right checksum. */
export function internetChecksum(bytes: Uint8Array, initial = 0): number {
  return ~onesComplementSum(bytes, initial) & 0xffff;
}

/**
 * Sum of the pseudo header that TCP and UDP checksums cover (RFC 9293 §3.1, RFC 8200 §8.1). Addresses of 4 or 16 bytes;
 * `length` is that of header and data of the transport, in bytes.
 */
export function pseudoHeaderSum(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): number {
  return fold(
    onesComplementSum(source) +
      onesComplementSum(destination) +
      protocol +
      Math.floor(length / 0x10000) +
      (length & 0xffff),
  );
}

/** Checksum of a TCP segment or UDP datagram whose own checksum field holds zero; 0 if that field is already right. */
export function transportChecksum(
  source: Uint8Array,
  destination: Uint8Array,
  protocol: number,
  segment: Uint8Array,
): number {
  return internetChecksum(segment, pseudoHeaderSum(source, destination, protocol, segment.length));
}

/** The checksum after one 16-bit word it covers changed: HC' = ~(~HC + ~m + m') (RFC 1624, equation 3). */
export function updateChecksum16(checksum: number, before: number, after: number): number {
  return ~fold((~checksum & 0xffff) + (~before & 0xffff) + after) & 0xffff;
}

/** The checksum after a 32-bit value at an even offset changed. */
export function updateChecksum32(checksum: number, before: number, after: number): number {
  return updateChecksum16(updateChecksum16(checksum, before >>> 16, after >>> 16), before & 0xffff, after & 0xffff);
}

/**
 * The checksum after a range of covered bytes changed. `offset` is where the range starts within what the checksum
 * covers (for TCP: within the segment): at an odd offset every byte counts in the other half of its word.
 */
export function updateChecksumBytes(checksum: number, before: Uint8Array, after: Uint8Array, offset: number): number {
  if (before.length !== after.length)
    throw new RangeError(`Cannot update checksum: ${before.length} bytes became ${after.length}`);
  const turn = offset % 2 === 1 ? swapped : (sum: number): number => sum;
  return updateChecksum16(checksum, turn(onesComplementSum(before)), turn(onesComplementSum(after)));
}

/**
 * The checksum of a DSS mapping (RFC 8684 §3.3.1): over the data and a pseudo header of the 64-bit data sequence number
 * (even where only 32 bits are on the wire), the relative subflow sequence number, the data-level length, and zeros.
 */
export function dssChecksum(
  dataSequence: bigint,
  subflowSequence: number,
  dataLength: number,
  payload: Uint8Array,
): number {
  const pseudo = new Uint8Array(16);
  const view = new DataView(pseudo.buffer);
  view.setBigUint64(0, dataSequence);
  view.setUint32(8, subflowSequence);
  view.setUint16(12, dataLength);
  return internetChecksum(payload, onesComplementSum(pseudo));
}

/**
 * `{}` when the checksum written at `offset` of `bytes` is the one an emitter would compute, else the checksum as
 * written. So a parsed header carries a checksum only where it is wrong, and emits to the same bytes either way.
 */
export function checksumIfWrong(
  bytes: Uint8Array,
  offset: number,
  written: number,
  initial = 0,
): { readonly checksum?: number } {
  // Summing around the field instead of over it tells 0 from 0xffff, which are equal as one's complement numbers.
  const sum = onesComplementSum(bytes.subarray(0, offset), onesComplementSum(bytes.subarray(offset + 2), initial));
  return (~sum & 0xffff) === written ? {} : { checksum: written };
}

/** Writes `checksum`, or the right one where it is undefined, at `offset` of `bytes`, where zeros stand. */
export function withChecksum(
  layer: WireLayer,
  bytes: Uint8Array,
  offset: number,
  checksum: number | undefined,
  initial = 0,
): Uint8Array {
  const value = checksum ?? internetChecksum(bytes, initial);
  if (!Number.isInteger(value) || value < 0 || value > 0xffff)
    throw new WireError("emit", layer, offset, `checksum is ${value}, not an integer from 0 to 65535`);
  bytes[offset] = value >> 8;
  bytes[offset + 1] = value & 0xff;
  return bytes;
}
