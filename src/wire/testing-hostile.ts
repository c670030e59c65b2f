/** Packets no honest host sends: whole ones, damaged in a chosen way. See testing.ts. */
import * as fc from "fast-check";
import { copyBytes } from "./bytes.ts";
import { WireError } from "./errors.ts";
import { Ipv6ExtensionProtocol } from "./ipv6.ts";
import { emitPacket, type PacketOffsets, parsePacket } from "./packet.ts";
import { tcpHeaderLength } from "./tcp.ts";
import { mptcpPacket } from "./testing-packets.ts";

const bits = (count: number): fc.Arbitrary<number> => fc.integer({ min: 0, max: 2 ** count - 1 });

interface Target {
  /** A copy, to be changed in place. */
  readonly bytes: Uint8Array;
  readonly l3: number;
  readonly l4: number;
  readonly isIpv4: boolean;
  readonly offsets: PacketOffsets;
}

/** Starts of the options behind the TCP header, as a careful reader finds them. */
function optionStarts({ bytes, l4, offsets }: Target): number[] {
  const starts: number[] = [];
  let at = l4 + tcpHeaderLength;
  while (at < offsets.payload && bytes[at] !== 0) {
    starts.push(at);
    const length = bytes[at] === 1 ? 1 : (bytes[at + 1] ?? 0);
    if (length === 0) break;
    at += length;
  }
  return starts;
}

/** Where kind and length bytes of the options longer than one byte stand; the second is at `start + 1`. */
function longOption(target: Target, random: number): number | undefined {
  const starts = optionStarts(target).filter((start) => target.bytes[start] !== 1);
  return starts[random % Math.max(1, starts.length)];
}

function put(bytes: Uint8Array, offset: number | undefined, value: number): Uint8Array {
  // Writing past the end of a typed array is silently ignored, which is what is wanted for a frame already cut.
  if (offset !== undefined) bytes[offset] = value & 0xff;
  return bytes;
}

/** Ways to spoil a frame; `random` is 32 bits to choose with. Each returns the frame it changed, or a part of it. */
const damages: Readonly<Record<string, (target: Target, random: number) => Uint8Array>> = {
  truncated: ({ bytes }, random) => bytes.slice(0, random % (bytes.length + 1)),
  "cut in the options": ({ bytes, l4, offsets }, random) =>
    bytes.slice(0, l4 + (random % Math.max(1, offsets.payload - l4 + 1))),
  "flipped bit": ({ bytes }, random) => {
    const at = (random >>> 3) % bytes.length;
    return put(bytes, at, (bytes[at] ?? 0) ^ (1 << (random & 7)));
  },
  "option of length zero or one": (target, random) => {
    const start = longOption(target, random >>> 1);
    return put(target.bytes, start === undefined ? undefined : start + 1, random & 1);
  },
  "option longer than the header": (target, random) => {
    const start = longOption(target, random >>> 8);
    return put(target.bytes, start === undefined ? undefined : start + 1, 30 + (random % 226));
  },
  "option of another length": (target, random) => {
    const start = longOption(target, random >>> 8);
    return put(target.bytes, start === undefined ? undefined : start + 1, random % 41);
  },
  "end of list in the middle": (target, random) => {
    const starts = optionStarts(target);
    return put(target.bytes, starts[random % Math.max(1, starts.length)], 0);
  },
  "last option byte without a length": ({ bytes, offsets }, random) =>
    put(bytes, offsets.payload - 1, random % 2 === 0 ? 30 : random >>> 8),
  "MPTCP subtype changed": (target, random) => {
    const { bytes } = target;
    const starts = optionStarts(target).filter((start) => bytes[start] === 30);
    const start = starts[(random >>> 8) % Math.max(1, starts.length)];
    return put(bytes, start === undefined ? undefined : start + 2, random);
  },
  "options of random bytes": ({ bytes, l4, offsets }, random) => {
    let state = random;
    for (let at = l4 + tcpHeaderLength; at < offsets.payload; at++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      // Small numbers are likely kinds and lengths.
      put(bytes, at, state % 3 === 0 ? state >>> 24 : (state >>> 24) % 32);
    }
    return bytes;
  },
  "TCP header length": ({ bytes, l4 }, random) => {
    const at = l4 + 12;
    return put(bytes, at, ((bytes[at] ?? 0) & 15) | (random << 4));
  },
  "IP length": ({ bytes, l3, isIpv4 }, random) => {
    const at = l3 + (isIpv4 ? 2 : 4);
    put(bytes, at, random % 4 === 0 ? random >>> 8 : 0);
    return put(bytes, at + 1, random >>> 16);
  },
  "IPv4 header length or version": ({ bytes, l3 }, random) =>
    put(bytes, l3, random % 2 === 0 ? 0x40 | ((random >>> 8) % 16) : random >>> 8),
  "IPv6 extension header length": ({ bytes, l3, isIpv4 }, random) => put(bytes, l3 + (isIpv4 ? 20 : 41), random),
  "next protocol": ({ bytes, l3, isIpv4 }, random) =>
    put(bytes, l3 + (isIpv4 ? 9 : 6), [0, 43, 44, 51, 60, 6, 17, 59][random % 8] ?? 0),
  fragment: ({ bytes, l3, isIpv4 }, random) => {
    if (!isIpv4) return put(bytes, l3 + 6, Ipv6ExtensionProtocol.fragment);
    put(bytes, l3 + 6, random % 2 === 0 ? 0x20 : (random >>> 8) & 0x3f);
    return put(bytes, l3 + 7, random >>> 16);
  },
  "one tag more": ({ bytes, l3 }, random) => {
    const tag = Uint8Array.of(0x81, 0, (random >>> 8) & 0xff, random & 0xff);
    const at = Math.max(12, l3 - 2);
    return Uint8Array.from([...bytes.slice(0, at), ...tag, ...bytes.slice(at)]);
  },
  "another EtherType": ({ bytes, l3 }, random) =>
    put(
      put(bytes, l3 - 2, [0x08, 0x86, 0x81, 0x88, 0x05][random % 5] ?? 0),
      l3 - 1,
      [0x00, 0xdd, 0xa8, 0x06][random % 4] ?? 0,
    ),
};

/** The names of the ways in which {@link hostileFrame} spoils frames, for a test that wants each of them. */
export const damageNames: readonly string[] = Object.keys(damages);

/** The same bytes with right checksums, where they still parse. */
function repairChecksums(bytes: Uint8Array): Uint8Array {
  try {
    const { ip, tcp, ...rest } = parsePacket(bytes);
    return emitPacket({
      ...rest,
      ...(ip?.version === 4 ? { ip: { ...ip, checksum: undefined } } : { ip }),
      ...(tcp === undefined ? {} : { tcp: { ...tcp, checksum: undefined } }),
    });
  } catch (error) {
    if (error instanceof WireError) return bytes;
    throw error;
  }
}

/**
 * An MPTCP packet with one or two damages, of all kinds or of those named. In half of those that still parse the
 * checksums are right, in the others they are as they were before the damage.
 */
export function damagedFrame(names: readonly string[] = damageNames): fc.Arbitrary<Uint8Array> {
  const damage = fc.tuple(fc.constantFrom(...names), bits(32));
  return fc
    .record({
      packet: mptcpPacket(),
      chosen: fc.array(damage, { minLength: 1, maxLength: 2 }),
      repaired: fc.boolean(),
    })
    .map(({ packet, chosen, repaired }) => {
      let bytes = emitPacket(packet);
      const { offsets } = parsePacket(bytes);
      const { l3 = 0, l4 = 0 } = offsets;
      for (const [name, random] of chosen) {
        if (bytes.length === 0) break;
        const target = { bytes: copyBytes(bytes), l3, l4, isIpv4: packet.ip.version === 4, offsets };
        bytes = damages[name]?.(target, random) ?? bytes;
      }
      return repaired ? repairChecksums(bytes) : bytes;
    });
}

/** Damages that leave the headers whole, so that a policy gets as far as the options. */
const optionDamages = damageNames.filter((name) => /option|end of list|MPTCP/.test(name));

/**
 * Bytes no honest host sends, at most 300: damaged MPTCP packets (cut, lying lengths, options of length zero, an end of
 * list in the middle, fragments, odd tags), and now and then random bytes alone.
 */
export function hostileFrame(): fc.Arbitrary<Uint8Array> {
  return fc.oneof(
    { weight: 6, arbitrary: damagedFrame(optionDamages) },
    { weight: 6, arbitrary: damagedFrame() },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 120 }) },
  );
}
