/** The packets that programs are timed on: the commonest one of a transfer, of any number of flows. */
import { emitPacket, EtherType, IpProtocol, parseIpAddress, TcpFlag } from "../../../wire/index.ts";

/** An acknowledgment with timestamps and a DATA_ACK, as it reaches 10.0.1.1; each flow has a port of its own. */
export function acknowledgment(flow = 0): Uint8Array {
  return emitPacket({
    ethernet: {
      destination: Uint8Array.of(2, 0, 0, 0, 1, 1),
      source: Uint8Array.of(2, 0, 0, 0, 1, 2),
      tags: [],
      etherType: EtherType.ipv4,
    },
    ip: {
      version: 4,
      trafficClass: 0,
      identification: 1,
      reservedFlag: false,
      dontFragment: true,
      moreFragments: false,
      fragmentOffset: 0,
      timeToLive: 64,
      protocol: IpProtocol.tcp,
      source: parseIpAddress("10.0.1.2"),
      destination: parseIpAddress("10.0.1.1"),
      options: new Uint8Array(0),
    },
    tcp: {
      sourcePort: 5001,
      destinationPort: 10_000 + flow,
      sequence: 1000,
      acknowledgment: 2000,
      flags: TcpFlag.ack,
      window: 3000,
      urgentPointer: 0,
      options: [
        { kind: "nop" },
        { kind: "nop" },
        { kind: "timestamps", value: 1000, echoReply: 900 },
        { kind: "dss", dataFin: false, dataAck64: 77n },
      ],
    },
    payload: new Uint8Array(0),
  });
}
