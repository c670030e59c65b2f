/** Frames for tests of what reads packets. */
import { emitPacket, parseIpAddress, type TcpOption } from "../../wire/index.ts";

type Frame = {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly flags: number;
  readonly options: readonly TcpOption[];
  /** Default 0. */
  readonly payloadBytes?: number;
};

/** A TCP segment in an IPv4 packet in an Ethernet frame; what tests do not care about is as usual. */
export function tcpFrame({ source, destination, options, payloadBytes = 0, ...tcp }: Frame): Uint8Array {
  return emitPacket({
    ethernet: { destination: new Uint8Array(6), source: new Uint8Array(6), tags: [], etherType: 0x0800 },
    ip: {
      version: 4,
      trafficClass: 0,
      identification: 1,
      reservedFlag: false,
      dontFragment: true,
      moreFragments: false,
      fragmentOffset: 0,
      timeToLive: 64,
      protocol: 6,
      source: parseIpAddress(source),
      destination: parseIpAddress(destination),
      options: new Uint8Array(0),
    },
    tcp: { ...tcp, acknowledgment: 1, window: 500, urgentPointer: 0, options: [...options] },
    payload: new Uint8Array(payloadBytes),
  });
}
