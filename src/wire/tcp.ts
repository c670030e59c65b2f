/** The TCP header (RFC 9293 §3.1). */
import { concatBytes } from "./bytes.ts";
import { checksumIfWrong, withChecksum } from "./checksum.ts";
import { WireError } from "./errors.ts";
import { layout } from "./layout.ts";
import { emitTcpOptions, parseTcpOptions, type TcpOption, type TcpOptionContext } from "./tcp-options.ts";

/** Bits of `Tcp.flags`; the three above them are reserved. `ae` is the accurate-ECN bit, once NS. */
export const TcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ece: 64, cwr: 128, ae: 256 } as const;

export interface Tcp {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  /** {@link TcpFlag} bits, 12 in all with the reserved ones. */
  readonly flags: number;
  /** As on the wire, not scaled. */
  readonly window: number;
  readonly urgentPointer: number;
  readonly options: readonly TcpOption[];
  /** Only where the bytes hold (or shall hold) another checksum than the right one. */
  readonly checksum?: number;
}

/** The fixed part of the header, in bytes. */
export const tcpHeaderLength = 20;
/** Of the checksum field, from the start of the header. */
export const tcpChecksumOffset = 16;

const header = layout("TCP", {
  sourcePort: 16,
  destinationPort: 16,
  sequence: 32,
  acknowledgment: 32,
  words: 4,
  flags: 12,
  window: 16,
  checksum: 16,
  urgentPointer: 16,
});

/**
 * Parses the header at the start of `segment`, which runs to the end of the segment's data; `pseudoSum` is that of its
 * pseudo header. Throws {@link WireError} (offsets from the start of the segment) when the header is cut or lies about
 * its length; broken options do not throw.
 */
export function parseTcp(
  segment: Uint8Array,
  pseudoSum: number,
  context: TcpOptionContext = {},
): { readonly tcp: Tcp; readonly headerLength: number } {
  if (segment.length < tcpHeaderLength)
    throw new WireError("parse", "TCP", segment.length, `the header ends after ${segment.length} of 20 bytes`);
  const { words, checksum, ...fields } = header.read(segment, 0);
  const headerLength = words * 4;
  if (headerLength < tcpHeaderLength || headerLength > segment.length)
    throw new WireError(
      "parse",
      "TCP",
      12,
      `the header says ${headerLength} bytes where 20 to ${segment.length} are possible`,
    );
  const options = parseTcpOptions(segment.subarray(tcpHeaderLength, headerLength), context);
  const wrong = checksumIfWrong(segment, tcpChecksumOffset, checksum, pseudoSum);
  return { tcp: { ...fields, options, ...wrong }, headerLength };
}

/** Emits header and payload; `pseudoSumOf` gives the sum of the pseudo header for a segment of so many bytes. */
export function emitTcp(tcp: Tcp, payload: Uint8Array, pseudoSumOf: (length: number) => number): Uint8Array {
  const options = emitTcpOptions(tcp.options);
  const head = header.write({ ...tcp, words: (tcpHeaderLength + options.length) / 4, checksum: 0 });
  const segment = concatBytes([head, options, payload]);
  return withChecksum("TCP", segment, tcpChecksumOffset, tcp.checksum, pseudoSumOf(segment.length));
}
