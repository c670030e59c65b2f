/** A whole packet: frame, network and transport header, data. Checked once here; what comes out can be trusted. */
import { concatBytes, copyBytes } from "./bytes.ts";
import { pseudoHeaderSum } from "./checksum.ts";
import { WireError } from "./errors.ts";
import { emitEthernet, type Ethernet, EtherType, parseEthernet } from "./ethernet.ts";
import { emitIpv4, type Ipv4, parseIpv4 } from "./ipv4.ts";
import { emitIpv6, type Ipv6, isFragment, parseIpv6 } from "./ipv6.ts";
import { emitTcp, parseTcp, type Tcp } from "./tcp.ts";
import type { TcpOptionContext } from "./tcp-options.ts";

/** IP protocol numbers that matter here. */
export const IpProtocol = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;

export interface Packet {
  /** Absent where the packet has no frame around it. */
  readonly ethernet?: Ethernet;
  /** Absent where the frame holds neither IPv4 nor IPv6. */
  readonly ip?: Ipv4 | Ipv6;
  /** Absent in a fragment and where the protocol is another one. */
  readonly tcp?: Tcp;
  /** What follows the innermost header above. */
  readonly payload: Uint8Array;
  /** What follows the end of the IP packet in its frame (padding of short frames); absent where nothing does. */
  readonly trailer?: Uint8Array;
}

/** Where the headers start, in bytes from the start of what was parsed. */
export interface PacketOffsets {
  /** 0 where there is an Ethernet header. */
  readonly l2?: number;
  readonly l3?: number;
  readonly l4?: number;
  readonly payload: number;
  /** Where the payload ends and the trailer, if any, starts. */
  readonly end: number;
}

export interface ParsedPacket extends Packet {
  readonly offsets: PacketOffsets;
}

export interface ParseContext extends TcpOptionContext {
  /** What the bytes start with: an Ethernet header (default) or an IP header. */
  readonly link?: "ethernet" | "ip";
}

/** Runs a parser on a part of the packet, so that the offset of its error counts from the start of the whole. */
function at<T>(start: number, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    throw new WireError("parse", error.layer, start + error.offset, error.reason);
  }
}

function parseNetwork(bytes: Uint8Array, start: number, etherType: number | undefined) {
  const version = (bytes[start] ?? 0) >> 4;
  const isIpv6 = etherType === undefined ? version === 6 : etherType === EtherType.ipv6;
  return at(start, () => (isIpv6 ? parseIpv6(bytes.subarray(start)) : parseIpv4(bytes.subarray(start))));
}

/** Whether the packet is one of several fragments of another. */
export function isIpFragment(ip: Ipv4 | Ipv6): boolean {
  return ip.version === 4 ? ip.moreFragments || ip.fragmentOffset !== 0 : ip.extensions.some(isFragment);
}

/**
 * Parses a packet down to the innermost header known here. The byte arrays in the result are copies.
 *
 * Throws {@link WireError}, and nothing else, when a header is cut short or lies about its length. Broken TCP options do
 * not throw: they are `malformed` options. Nor do wrong checksums: see `Ipv4.checksum` and `Tcp.checksum`.
 */
export function parsePacket(bytes: Uint8Array, context: ParseContext = {}): ParsedPacket {
  const frame = context.link === "ip" ? undefined : parseEthernet(bytes);
  const l3 = frame?.headerLength ?? 0;
  const etherType = frame?.ethernet.etherType;
  const l2 = frame === undefined ? {} : { l2: 0 };
  const ethernet = frame === undefined ? {} : { ethernet: frame.ethernet };
  if (etherType !== undefined && etherType !== EtherType.ipv4 && etherType !== EtherType.ipv6)
    return { ...ethernet, payload: copyBytes(bytes, l3), offsets: { ...l2, payload: l3, end: bytes.length } };

  const { ip, headerLength, totalLength } = parseNetwork(bytes, l3, etherType);
  const l4 = l3 + headerLength;
  const end = l3 + totalLength;
  const trailer = end === bytes.length ? {} : { trailer: copyBytes(bytes, end) };
  if (ip.protocol !== IpProtocol.tcp || isIpFragment(ip))
    return {
      ...ethernet,
      ip,
      payload: copyBytes(bytes, l4, end),
      ...trailer,
      offsets: { ...l2, l3, payload: l4, end },
    };

  const pseudoSum = pseudoHeaderSum(ip.source, ip.destination, IpProtocol.tcp, end - l4);
  const { tcp, headerLength: tcpLength } = at(l4, () => parseTcp(bytes.subarray(l4, end), pseudoSum, context));
  const payload = l4 + tcpLength;
  return {
    ...ethernet,
    ip,
    tcp,
    payload: copyBytes(bytes, payload, end),
    ...trailer,
    offsets: { ...l2, l3, l4, payload, end },
  };
}

/**
 * Emits a packet. Lengths are computed, and so are checksums that the packet does not give. For every packet that
 * parses, `emitPacket(parsePacket(bytes))` is `bytes`. Throws {@link WireError} when a value does not fit its field.
 */
export function emitPacket(packet: Packet): Uint8Array {
  const { ethernet, ip, tcp, payload, trailer } = packet;
  if (tcp !== undefined && ip === undefined) throw new WireError("emit", "TCP", 0, "there is no IP header to carry it");
  const frame = ethernet === undefined ? [] : [emitEthernet(ethernet)];
  if (ip === undefined) return concatBytes([...frame, payload]);
  const inner =
    tcp === undefined
      ? payload
      : emitTcp(tcp, payload, (length) => pseudoHeaderSum(ip.source, ip.destination, IpProtocol.tcp, length));
  const network = ip.version === 4 ? emitIpv4(ip, inner.length) : emitIpv6(ip, inner.length);
  return concatBytes([...frame, network, inner, trailer ?? new Uint8Array(0)]);
}
