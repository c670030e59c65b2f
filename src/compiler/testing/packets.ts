/** Packets with chosen parts, for tests that look at one thing. */
import {
  emitPacket,
  EtherType,
  parseIpAddress,
  type Ipv4,
  type Ipv6,
  type Ipv6Extension,
  type Tcp,
  type TcpOption,
} from "../../wire/index.ts";

export interface PacketParts {
  readonly source?: string;
  readonly destination?: string;
  readonly tcp?: Partial<Tcp>;
  readonly options?: readonly TcpOption[];
  readonly payload?: number;
  readonly ttl?: number;
  readonly ecn?: number;
  /** VLAN numbers, outermost first. */
  readonly vlans?: readonly number[];
  readonly ipOptions?: Uint8Array;
  readonly extensions?: readonly Ipv6Extension[];
  /** Bytes behind the IP packet. */
  readonly trailer?: number;
}

/** A frame; 10.0.0.2:5001 to 10.0.0.1:80 with an ACK unless told otherwise. Its IP version is that of the addresses. */
export function makeFrame(parts: PacketParts = {}): Uint8Array {
  const source = parseIpAddress(parts.source ?? "10.0.0.2");
  const destination = parseIpAddress(parts.destination ?? "10.0.0.1");
  const common = { source, destination, protocol: 6, trafficClass: parts.ecn ?? 0 };
  const ip: Ipv4 | Ipv6 =
    source.length === 4
      ? {
          ...common,
          version: 4,
          identification: 0,
          reservedFlag: false,
          dontFragment: true,
          moreFragments: false,
          fragmentOffset: 0,
          timeToLive: parts.ttl ?? 64,
          options: parts.ipOptions ?? new Uint8Array(0),
        }
      : { ...common, version: 6, flowLabel: 0, hopLimit: parts.ttl ?? 64, extensions: parts.extensions ?? [] };
  return emitPacket({
    ethernet: {
      destination: new Uint8Array(6),
      source: new Uint8Array(6),
      tags: (parts.vlans ?? []).map((vlan, i) => ({
        tpid: i === 0 && parts.vlans!.length > 1 ? EtherType.serviceVlan : EtherType.vlan,
        priority: 0,
        dropEligible: false,
        vlan,
      })),
      etherType: ip.version === 4 ? EtherType.ipv4 : EtherType.ipv6,
    },
    ip,
    tcp: {
      sourcePort: 5001,
      destinationPort: 80,
      sequence: 0x0102_0304,
      acknowledgment: 0xf1f2_f3f4,
      flags: 0x10,
      window: 1000,
      urgentPointer: 0,
      options: parts.options ?? [],
      ...parts.tcp,
    },
    payload: new Uint8Array(parts.payload ?? 0).fill(7),
    ...(parts.trailer && { trailer: new Uint8Array(parts.trailer) }),
  });
}
