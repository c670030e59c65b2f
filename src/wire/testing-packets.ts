/** Packets that parse, of every kind. See testing.ts. */
import * as fc from "fast-check";
import { type Ethernet, EtherType } from "./ethernet.ts";
import { type Ipv4, ipv4ChecksumOffset } from "./ipv4.ts";
import { type Ipv6, type Ipv6Extension, Ipv6ExtensionProtocol } from "./ipv6.ts";
import type { FieldSpec } from "./layout.ts";
import { mptcpForms, type MptcpForm } from "./mptcp/forms.ts";
import { type MptcpOption, MptcpSubtype } from "./mptcp/options.ts";
import { emitPacket, IpProtocol, isIpFragment, type Packet, parsePacket } from "./packet.ts";
import { type Tcp, tcpChecksumOffset } from "./tcp.ts";
import { emitTcpOption, isMptcpOption, maxTcpOptionsLength, type TcpOption } from "./tcp-options.ts";

const bits = (count: number): fc.Arbitrary<number> => fc.integer({ min: 0, max: 2 ** count - 1 });
const u64 = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.constantFrom(0n, 2n ** 32n - 1n, 2n ** 64n - 1n));
const bytesOf = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
const seldom = (value: fc.Arbitrary<number>): fc.Arbitrary<number | undefined> =>
  fc.option(value, { nil: undefined, freq: 7 });
const defined = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as T;

function fieldArbitrary(spec: FieldSpec): fc.Arbitrary<unknown> {
  if (typeof spec === "number") return bits(spec);
  if (spec === "flag") return fc.boolean();
  if (spec === "u64") return u64;
  return bytesOf("bytes" in spec ? spec.bytes : 0);
}

function formArbitrary({ kind, implied, layout }: MptcpForm): fc.Arbitrary<MptcpOption> {
  const fields = Object.fromEntries(layout.names.map((name) => [name, fieldArbitrary(layout.specs[name] ?? 0)]));
  const reservedBits = Object.values(layout.specs).reduce<number>(
    (sum, spec) => sum + (typeof spec === "object" && "reserved" in spec ? spec.reserved : 0),
    0,
  );
  const reserved =
    reservedBits === 0 ? fc.constant(undefined) : seldom(fc.integer({ min: 1, max: 2 ** reservedBits - 1 }));
  return fc
    .record({ fields: fc.record(fields), reserved })
    .map(({ fields, reserved }) => defined({ kind, ...implied, ...fields, reserved }) as unknown as MptcpOption);
}

/** Every MPTCP option of both versions, in each of its forms; now and then one of an unknown subtype. */
export function mptcpOption(): fc.Arbitrary<MptcpOption> {
  const kinds = [...new Set(mptcpForms.map(({ kind }) => kind))];
  const known = kinds.map((kind) => ({
    weight: kind === "dss" || kind === "addAddr" ? 4 : 2,
    arbitrary: fc.oneof(...mptcpForms.filter((form) => form.kind === kind).map(formArbitrary)),
  }));
  const unknown = fc
    .tuple(fc.integer({ min: Object.keys(MptcpSubtype).length, max: 15 }), bits(4), fc.uint8Array({ maxLength: 12 }))
    .map(([subtype, low, rest]) => ({
      kind: "mptcpUnknown" as const,
      bytes: Uint8Array.of(30, rest.length + 3, (subtype << 4) | low, ...rest),
    }));
  return fc.oneof(...known, { weight: 1, arbitrary: unknown });
}

const knownCodes = new Set([0, 1, 2, 3, 4, 5, 8, 30]);

/** Options of TCP itself, and of kinds unknown here; no end of list. */
export function plainTcpOption(): fc.Arbitrary<TcpOption> {
  return fc.oneof(
    fc.constant({ kind: "nop" } as const),
    fc.record({ kind: fc.constant("maximumSegmentSize" as const), bytes: bits(16) }),
    fc.record({ kind: fc.constant("windowScale" as const), shift: fc.integer({ min: 0, max: 20 }) }),
    fc.constant({ kind: "sackPermitted" } as const),
    fc.record({
      kind: fc.constant("sack" as const),
      blocks: fc.array(fc.record({ left: bits(32), right: bits(32) }), { minLength: 1, maxLength: 4 }),
    }),
    fc.record({ kind: fc.constant("timestamps" as const), value: bits(32), echoReply: bits(32) }),
    fc
      .tuple(
        bits(8).filter((code) => !knownCodes.has(code)),
        fc.uint8Array({ maxLength: 12 }),
      )
      .map(([code, rest]) => ({ kind: "unknown" as const, bytes: Uint8Array.of(code, rest.length + 2, ...rest) })),
  );
}

function lengthOf(options: readonly TcpOption[]): number {
  return options.reduce((sum, option) => sum + emitTcpOption(option).length, 0);
}

/** How a list is filled up to whole words: in front, behind, with an end of list, or up to all 40 bytes. */
const fillings: readonly ((options: TcpOption[], missing: number) => TcpOption[])[] = [
  (options, missing) => [...Array.from({ length: missing }, () => ({ kind: "nop" }) as const), ...options],
  (options, missing) => [...options, ...Array.from({ length: missing }, () => ({ kind: "nop" }) as const)],
  (options, missing) => {
    if (missing === 0) return options;
    const padding = new Uint8Array(missing - 1);
    return [...options, padding.length === 0 ? { kind: "endOfList" } : { kind: "endOfList", padding }];
  },
  (options) => {
    const left = maxTcpOptionsLength - lengthOf(options);
    if (left < 2) return [...options, ...Array.from({ length: left }, () => ({ kind: "nop" }) as const)];
    return [...options, { kind: "unknown", bytes: Uint8Array.of(253, left, ...new Uint8Array(left - 2)) }];
  },
];

/** A list of options, without any malformed one, that fills whole words: up to the full 40 bytes. */
export function tcpOptions(): fc.Arbitrary<TcpOption[]> {
  const one = fc.oneof({ weight: 3, arbitrary: mptcpOption() }, { weight: 2, arbitrary: plainTcpOption() });
  return fc.tuple(fc.array(one, { maxLength: 6 }), fc.constantFrom(...fillings)).map(([drawn, fill]) => {
    const options: TcpOption[] = [];
    for (const option of drawn) if (lengthOf([...options, option]) <= maxTcpOptionsLength) options.push(option);
    return fill(options, -lengthOf(options) & 3);
  });
}

const flags = fc.oneof(fc.constantFrom(0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14), bits(12));

export function tcpHeader(): fc.Arbitrary<Tcp> {
  return fc.record({
    sourcePort: fc.oneof(fc.constantFrom(80, 443, 5001), bits(16)),
    destinationPort: fc.oneof(fc.constantFrom(80, 443, 5001), bits(16)),
    sequence: bits(32),
    acknowledgment: bits(32),
    flags,
    window: bits(16),
    urgentPointer: fc.oneof(fc.constant(0), bits(16)),
    options: tcpOptions(),
  });
}

const ipv4Address = fc.oneof(
  fc.tuple(bits(1), fc.integer({ min: 1, max: 3 })).map(([net, host]) => Uint8Array.of(10, 0, net, host)),
  bytesOf(4),
);
const ipv6Address = fc.oneof(
  fc.tuple(bits(1), fc.integer({ min: 1, max: 3 })).map(([net, host]) => {
    const address = new Uint8Array(16);
    address.set([0xfd, 0, 0, net]);
    address[15] = host;
    return address;
  }),
  bytesOf(16),
);
const protocol = fc.oneof(
  { weight: 9, arbitrary: fc.constant<number>(IpProtocol.tcp) },
  { weight: 1, arbitrary: fc.constantFrom<number>(IpProtocol.icmp, IpProtocol.udp, 59, 253) },
);
const often = <T>(usual: T, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary });

export function ipv4Header(): fc.Arbitrary<Ipv4> {
  return fc.record({
    version: fc.constant(4 as const),
    trafficClass: bits(8),
    identification: bits(16),
    reservedFlag: often(false, fc.boolean()),
    dontFragment: fc.boolean(),
    moreFragments: often(false, fc.boolean()),
    fragmentOffset: often(0, bits(13)),
    timeToLive: bits(8),
    protocol,
    source: ipv4Address,
    destination: ipv4Address,
    options: fc.oneof(
      { weight: 3, arbitrary: fc.constant(new Uint8Array(0)) },
      { weight: 1, arbitrary: fc.integer({ min: 1, max: 10 }).chain((words) => bytesOf(words * 4)) },
    ),
  });
}

function dataExtension(numbers: readonly number[], length: fc.Arbitrary<number>): fc.Arbitrary<Ipv6Extension> {
  return fc
    .tuple(fc.constantFrom(...numbers), length.chain(bytesOf))
    .map(([protocol, data]) => ({ kind: "other", protocol, data }));
}

function ipv6Extension(): fc.Arbitrary<Ipv6Extension> {
  const { fragment: _, authentication, ...units } = Ipv6ExtensionProtocol;
  return fc.oneof(
    { weight: 4, arbitrary: dataExtension(Object.values(units), fc.constantFrom(6, 14, 22)) },
    { weight: 1, arbitrary: dataExtension([authentication], fc.constantFrom(10, 22)) },
    {
      weight: 2,
      arbitrary: fc
        .record({
          fragmentOffset: often(0, bits(13)),
          moreFragments: often(false, fc.boolean()),
          identification: bits(32),
          reserved: seldom(fc.integer({ min: 1, max: 1023 })),
        })
        .map((fields) => defined({ kind: "fragment" as const, ...fields })),
    },
  );
}

export function ipv6Header(): fc.Arbitrary<Ipv6> {
  const extensions = fc
    .oneof(
      { weight: 2, arbitrary: fc.constant<Ipv6Extension[]>([]) },
      { weight: 1, arbitrary: fc.array(ipv6Extension(), { minLength: 1, maxLength: 3 }) },
    )
    // Nothing is parsed after the header of a real fragment, so nothing may stand there.
    .map((list) => {
      const end = list.findIndex((one) => one.kind === "fragment" && (one.fragmentOffset !== 0 || one.moreFragments));
      return end === -1 ? list : list.slice(0, end + 1);
    });
  return fc.record({
    version: fc.constant(6 as const),
    trafficClass: bits(8),
    flowLabel: bits(20),
    hopLimit: bits(8),
    source: ipv6Address,
    destination: ipv6Address,
    extensions,
    protocol,
  });
}

/** All of the header but the type, which the packet in the frame decides. */
export function ethernetHeader(): fc.Arbitrary<Omit<Ethernet, "etherType">> {
  const tag = fc.record({
    tpid: fc.constantFrom<number>(EtherType.vlan, EtherType.serviceVlan),
    priority: bits(3),
    dropEligible: fc.boolean(),
    vlan: bits(12),
  });
  return fc.record({
    destination: bytesOf(6),
    source: bytesOf(6),
    tags: fc.oneof(
      { weight: 3, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.array(tag, { minLength: 1, maxLength: 2 }) },
    ),
  });
}

/** The packet with checksums that are wrong by `error` (1 to 65534: zero and its twin 65535 would not be wrong). */
function spoilChecksums(packet: Packet, error: number): Packet {
  const bytes = emitPacket(packet);
  const { l3 = 0, l4 = 0 } = parsePacket(bytes).offsets;
  const spoilt = (offset: number): number =>
    ((((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0)) + error) & 0xffff;
  const { ip, tcp } = packet;
  return {
    ...packet,
    ...(ip?.version === 4 ? { ip: { ...ip, checksum: spoilt(l3 + ipv4ChecksumOffset) } } : {}),
    ...(tcp === undefined ? {} : { tcp: { ...tcp, checksum: spoilt(l4 + tcpChecksumOffset) } }),
  };
}

/**
 * A packet in the form that parsing gives it: TCP over IPv4 or IPv6 in an Ethernet frame mostly, sometimes a fragment,
 * another protocol, a wrong checksum, or a frame with a trailer.
 */
export function packet(): fc.Arbitrary<Packet> {
  return fc
    .record({
      ethernet: ethernetHeader(),
      ip: fc.oneof<fc.Arbitrary<Ipv4 | Ipv6>[]>(ipv4Header(), ipv6Header()),
      tcp: tcpHeader(),
      payload: fc.oneof(fc.constant(new Uint8Array(0)), fc.uint8Array({ maxLength: 48 })),
      trailer: fc.option(fc.uint8Array({ minLength: 1, maxLength: 8 }), { nil: undefined, freq: 7 }),
      error: seldom(fc.integer({ min: 1, max: 0xfffe })),
    })
    .map(({ ethernet, ip, tcp, payload, trailer, error }): Packet => {
      const carriesTcp = ip.protocol === IpProtocol.tcp && !isIpFragment(ip);
      const packet = defined({
        ethernet: { ...ethernet, etherType: ip.version === 4 ? EtherType.ipv4 : EtherType.ipv6 },
        ip,
        tcp: carriesTcp ? tcp : undefined,
        payload,
        trailer,
      }) as Packet;
      return error === undefined ? packet : spoilChecksums(packet, error);
    });
}

/** A {@link packet} that is whole TCP over IP. */
export type TcpPacket = Packet & { readonly ip: Ipv4 | Ipv6; readonly tcp: Tcp };

/** A {@link TcpPacket} whose options hold at least one of MPTCP's. */
export function mptcpPacket(): fc.Arbitrary<TcpPacket> {
  return packet().filter((packet): packet is TcpPacket => packet.tcp?.options.some(isMptcpOption) === true);
}

/** The bytes of a {@link packet}: well formed, mostly MPTCP. */
export function frame(): fc.Arbitrary<Uint8Array> {
  return fc.oneof({ weight: 4, arbitrary: mptcpPacket() }, { weight: 1, arbitrary: packet() }).map(emitPacket);
}
