/** Frames for policy tests, and where a careful reader finds their headers. */
import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import type { Hook } from "../index.ts";
import { frame, hostileFrame } from "../../wire/testing.ts";
import { LinkType, readPcapng } from "../../wire/index.ts";

const captures = ["ipv4", "ipv6", "checksum-fastclose", "refused-join"];

/** Every frame that the kernel sent in the captures beside the wire formats. */
export function capturedFrames(): Uint8Array[] {
  return captures.flatMap((name) => {
    const file = new URL(`../../wire/vectors/${name}.pcapng`, import.meta.url);
    const { interfaces, packets } = readPcapng(readFileSync(file));
    return packets.map(({ bytes, interface: index }) =>
      interfaces[index].linkType === LinkType.ethernet ? bytes : withEthernet(bytes),
    );
  });
}

function withEthernet(packet: Uint8Array): Uint8Array {
  const type = packet[0] >> 4 === 6 ? [0x86, 0xdd] : [0x08, 0x00];
  return Uint8Array.from([...new Uint8Array(12), ...type, ...packet]);
}

/** `count` frames, half of them hostile; the same for the same seed. At least an Ethernet header each. */
export function generatedFrames(count: number, seed: number): Uint8Array[] {
  const frames = fc.sample(fc.oneof(frame(), hostileFrame()), { numRuns: count, seed });
  return frames.filter(({ length }) => length >= 14);
}

/** Whether BPF_PROG_TEST_RUN takes the frame: on tc it wants the fixed IP header that the frame announces. */
export function canTestRun(frame: Uint8Array, hook: Hook): boolean {
  if (hook === "xdp") return true;
  const type = (frame[12] << 8) | frame[13];
  return frame.length >= (type === 0x0800 ? 34 : type === 0x86dd ? 54 : 14);
}

/** Offsets in a frame, in bytes. */
export interface Located {
  readonly ip: number;
  readonly version: 4 | 6;
  readonly tcp: number;
  /** Behind the TCP header with its options. */
  readonly payload: number;
  /** Where the IP packet ends by its own account; undefined when it does not say. */
  readonly end: number | undefined;
}

/** Where the TCP header of a frame is that a chain should see: whole headers, no fragment, at most two VLAN tags. */
export function locateTcp(frame: Uint8Array): Located | undefined {
  const u16 = (at: number): number => (frame[at] << 8) | frame[at + 1];
  let ip = 14;
  for (let tags = 0; tags < 2 && (u16(ip - 2) === 0x8100 || u16(ip - 2) === 0x88a8); tags++) ip += 4;
  const type = u16(ip - 2);
  const found = type === 0x0800 ? tcpInV4(frame, ip) : type === 0x86dd ? tcpInV6(frame, ip) : undefined;
  if (!found || found.tcp + 20 > frame.length) return undefined;
  const payload = found.tcp + (frame[found.tcp + 12] >> 4) * 4;
  if (payload < found.tcp + 20 || payload > frame.length) return undefined;
  if (found.end !== undefined && payload > found.end) return undefined;
  return { ip, payload, ...found };
}

type Network = Pick<Located, "version" | "tcp" | "end">;

function tcpInV4(frame: Uint8Array, ip: number): Network | undefined {
  const first = frame[ip];
  if (ip + 40 > frame.length || first >> 4 !== 4 || (first & 15) < 5 || frame[ip + 9] !== 6) return undefined;
  // More fragments, or not the first one.
  if ((frame[ip + 6] & 0x3f) !== 0 || frame[ip + 7] !== 0) return undefined;
  const total = (frame[ip + 2] << 8) | frame[ip + 3];
  return { version: 4, tcp: ip + (first & 15) * 4, end: total === 0 ? undefined : ip + total };
}

function tcpInV6(frame: Uint8Array, ip: number): Network | undefined {
  if (ip + 60 > frame.length || frame[ip] >> 4 !== 6) return undefined;
  const payload = (frame[ip + 4] << 8) | frame[ip + 5];
  let next = frame[ip + 6];
  let at = ip + 40;
  for (let extensions = 0; next !== 6; extensions++) {
    if (![0, 43, 60].includes(next) || extensions === 8 || at + 8 > frame.length) return undefined;
    const units = frame[at + 1];
    const length = next === 51 ? (units + 2) * 4 : (units + 1) * 8;
    next = frame[at]!;
    at += length;
  }
  return { version: 6, tcp: at, end: payload === 0 ? undefined : ip + 40 + payload };
}
