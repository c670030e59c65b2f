/** Capture files of either format, and what their link layers put in front of a packet. */
import { concatBytes, copyBytes } from "./bytes.ts";
import { WireError } from "./errors.ts";
import { EtherType } from "./ethernet.ts";
import { readPcap } from "./pcap.ts";
import { LinkType, readPcapng, type Capture, type CapturedPacket } from "./pcapng.ts";

/** Reads a pcapng or a classic pcap file. Throws {@link WireError} for one that is neither, cut or broken. */
export function readCapture(file: Uint8Array): Capture {
  const sectionHeader = [0x0a, 0x0d, 0x0d, 0x0a];
  if (sectionHeader.every((byte, i) => file[i] === byte)) return readPcapng(file);
  try {
    return readPcap(file);
  } catch (error) {
    if (error instanceof WireError && error.offset === 0)
      throw new WireError("parse", "capture", 0, "this is neither a pcapng nor a pcap file");
    throw error;
  }
}

export interface CapturedFrame {
  /** From the Ethernet header on; one with zero addresses where the link has none. */
  readonly frame: Uint8Array;
  /** Of the frame on the wire, in bytes: more than `frame` has where the capture cut it. */
  readonly originalLength: number;
  readonly direction?: "ingress" | "egress";
}

/** Value of the packet type field of Linux's cooked headers (PACKET_OUTGOING) for packets that this host sent. */
const outgoing = 4;

/** Cooked headers, as `tcpdump -i any` writes them: length, and where the packet type's last byte and the protocol are. */
const cookedHeaders: Readonly<Record<number, { length: number; packetType: number; protocol: number }>> = {
  [LinkType.cooked]: { length: 16, packetType: 1, protocol: 14 },
  [LinkType.cooked2]: { length: 20, packetType: 10, protocol: 0 },
};

function framed(packet: Uint8Array, etherType: number): Uint8Array {
  return concatBytes([new Uint8Array(12), Uint8Array.of(etherType >> 8, etherType & 0xff), packet]);
}

/**
 * A captured packet as the Ethernet frame that a program in the kernel would see. Throws {@link WireError} for a link type
 * other than those in {@link LinkType}, and when the packet ends within a cooked header.
 */
export function toFrame(packet: CapturedPacket, { interfaces }: Capture): CapturedFrame {
  const { bytes, originalLength, interface: index } = packet;
  const known = packet.direction === undefined ? {} : { direction: packet.direction };
  const linkType = interfaces[index]?.linkType;
  if (linkType === LinkType.ethernet) return { frame: bytes, originalLength, ...known };
  if (linkType === LinkType.rawIp) {
    const etherType = (bytes[0] ?? 0) >> 4 === 6 ? EtherType.ipv6 : EtherType.ipv4;
    return { frame: framed(bytes, etherType), originalLength: originalLength + 14, ...known };
  }
  const cooked = cookedHeaders[linkType ?? -1];
  if (cooked === undefined)
    throw new WireError(
      "parse",
      "capture",
      0,
      `the link type is ${linkType}; known are Ethernet, raw IP and Linux cooked`,
    );
  if (bytes.length < cooked.length)
    throw new WireError("parse", "capture", bytes.length, `the cooked header ends after ${bytes.length} bytes`);
  const etherType = ((bytes[cooked.protocol] ?? 0) << 8) | (bytes[cooked.protocol + 1] ?? 0);
  return {
    frame: framed(copyBytes(bytes, cooked.length), etherType),
    originalLength: originalLength - cooked.length + 14,
    direction: packet.direction ?? (bytes[cooked.packetType] === outgoing ? "egress" : "ingress"),
  };
}
