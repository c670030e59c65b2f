/** The IPv4 header (RFC 791). */
import { concatBytes, copyBytes } from "./bytes.ts";
import { checksumIfWrong, withChecksum } from "./checksum.ts";
import { WireError } from "./errors.ts";
import { layout } from "./layout.ts";

export interface Ipv4 {
  readonly version: 4;
  /** DSCP and ECN, eight bits. */
  readonly trafficClass: number;
  readonly identification: number;
  /** The bit before DF, which must be zero. */
  readonly reservedFlag: boolean;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  /** In units of eight bytes, as on the wire. */
  readonly fragmentOffset: number;
  readonly timeToLive: number;
  readonly protocol: number;
  /** Four bytes. */
  readonly source: Uint8Array;
  /** Four bytes. */
  readonly destination: Uint8Array;
  /** As on the wire: whole words, at most 40 bytes. */
  readonly options: Uint8Array;
  /** Only where the bytes hold (or shall hold) another header checksum than the right one. */
  readonly checksum?: number;
}

/** Of the checksum field, from the start of the header. */
export const ipv4ChecksumOffset = 10;

const header = layout("IPv4", {
  version: 4,
  words: 4,
  trafficClass: 8,
  totalLength: 16,
  identification: 16,
  reservedFlag: "flag",
  dontFragment: "flag",
  moreFragments: "flag",
  fragmentOffset: 13,
  timeToLive: 8,
  protocol: 8,
  checksum: 16,
  source: { bytes: 4 },
  destination: { bytes: 4 },
});
const maxOptionsLength = 40;

function refuse(offset: number, reason: string): never {
  throw new WireError("parse", "IPv4", offset, reason);
}

/**
 * Parses the header at the start of `bytes`, which may run past the packet. Throws {@link WireError} when the header is
 * cut, or when one of its two lengths is impossible or goes past the end.
 */
export function parseIpv4(bytes: Uint8Array): {
  readonly ip: Ipv4;
  readonly headerLength: number;
  readonly totalLength: number;
} {
  if (bytes.length < header.size) refuse(bytes.length, `the header ends after ${bytes.length} of 20 bytes`);
  const { version, words, totalLength, checksum, ...fields } = header.read(bytes, 0);
  const headerLength = words * 4;
  if (version !== 4) refuse(0, `the version is ${version}`);
  if (headerLength < header.size || headerLength > bytes.length)
    refuse(0, `the header says ${headerLength} bytes where 20 to ${bytes.length} are possible`);
  if (totalLength < headerLength || totalLength > bytes.length)
    refuse(2, `the total length is ${totalLength} where ${headerLength} to ${bytes.length} are possible`);
  const options = copyBytes(bytes, header.size, headerLength);
  const wrong = checksumIfWrong(bytes.subarray(0, headerLength), ipv4ChecksumOffset, checksum);
  return { ip: { version: 4, ...fields, options, ...wrong }, headerLength, totalLength };
}

/** Emits the header of a packet with so many bytes after it. Throws {@link WireError} when a value does not fit. */
export function emitIpv4(ip: Ipv4, payloadLength: number): Uint8Array {
  const { length } = ip.options;
  if (length % 4 !== 0 || length > maxOptionsLength)
    throw new WireError("emit", "IPv4", header.size, `options take ${length} bytes, not up to ten whole words`);
  const headerLength = header.size + length;
  const head = header.write({
    ...ip,
    words: headerLength / 4,
    totalLength: headerLength + payloadLength,
    checksum: 0,
  });
  return withChecksum("IPv4", concatBytes([head, ip.options]), ipv4ChecksumOffset, ip.checksum);
}
