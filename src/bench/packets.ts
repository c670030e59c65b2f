/** The packets of the benchmark: one to measure with, and others on which both sides must agree. */
import { emitPacket, EtherType, IpProtocol, parseIpAddress, TcpFlag } from "../wire/index.ts";
import type { Ethernet, Ipv4, Ipv6, Packet, Tcp, TcpOption } from "../wire/index.ts";

const ethernet: Ethernet = {
  destination: Uint8Array.of(2, 0, 0, 0, 0, 1),
  source: Uint8Array.of(2, 0, 0, 0, 0, 2),
  tags: [],
  etherType: EtherType.ipv4,
};
const v4: Ipv4 = {
  version: 4,
  trafficClass: 0,
  identification: 7,
  reservedFlag: false,
  dontFragment: true,
  moreFragments: false,
  fragmentOffset: 0,
  timeToLive: 64,
  protocol: IpProtocol.tcp,
  source: parseIpAddress("10.2.0.2"),
  destination: parseIpAddress("10.1.0.1"),
  options: new Uint8Array(0),
};
const v6: Ipv6 = {
  version: 6,
  trafficClass: 0,
  flowLabel: 0,
  hopLimit: 64,
  source: parseIpAddress("fd00::2"),
  destination: parseIpAddress("fd00::1"),
  extensions: [],
  protocol: IpProtocol.tcp,
};
const nop: TcpOption = { kind: "nop" };
const timestamps: TcpOption = { kind: "timestamps", value: 1000, echoReply: 900 };
const dataAck: TcpOption = { kind: "dss", dataFin: false, dataAck64: 77n };
const addAddress: TcpOption = {
  kind: "addAddr",
  version: 1,
  echo: false,
  addressId: 3,
  address: parseIpAddress("10.1.1.1"),
  hmac: 0x0102_0304_0506_0708n,
};
const echo: TcpOption = { ...addAddress, echo: true, hmac: undefined };

const acknowledgment: Tcp = {
  sourcePort: 5001,
  destinationPort: 43210,
  sequence: 1000,
  acknowledgment: 2000,
  flags: TcpFlag.ack,
  window: 3000,
  urgentPointer: 0,
  options: [nop, nop, timestamps, dataAck],
};

function frame(tcp: Partial<Tcp> = {}, rest: Partial<Packet> = {}): Uint8Array {
  const ip = rest.ip ?? v4;
  const etherType = ip.version === 4 ? EtherType.ipv4 : EtherType.ipv6;
  const { ethernet: outer = ethernet, payload = new Uint8Array(0) } = rest;
  return emitPacket({ ethernet: { ...outer, etherType }, ip, tcp: { ...acknowledgment, ...tcp }, payload });
}

function changed(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = value;
  return copy;
}

/** What is timed: the commonest packet of a transfer, an acknowledgment with timestamps and a DATA_ACK. */
export const timedPacket = frame();

const tag = { tpid: EtherType.vlan, priority: 0, dropEligible: false, vlan: 5 };
const tags = (count: number): Partial<Packet> => ({
  ethernet: { ...ethernet, tags: Array.from({ length: count }, () => tag) },
});
const hopByHop = { kind: "other", protocol: 0, data: new Uint8Array(6) } as const;

/** Packets on which a chain and its baseline must agree. Byte numbers: IPv4 starts at 14, TCP at 34. */
export const samplePackets: Readonly<Record<string, Uint8Array>> = {
  acknowledgment: timedPacket,
  data: frame({ flags: TcpFlag.ack | TcpFlag.psh }, { payload: new Uint8Array(101).fill(7) }),
  SYN: frame({ flags: TcpFlag.syn }),
  "large window": frame({ window: 65_535 }),
  ADD_ADDR: frame({ options: [addAddress] }),
  "ADD_ADDR with data": frame({ options: [addAddress] }, { payload: new Uint8Array(5) }),
  "ADD_ADDR with a DATA_ACK": frame({ options: [dataAck, addAddress] }),
  "ADD_ADDR at an odd offset": frame({ options: [nop, timestamps, addAddress, { kind: "endOfList" }] }),
  "ADD_ADDR echo": frame({ options: [echo, nop, nop, nop, nop] }),
  "two ADD_ADDR": frame({ options: [addAddress, addAddress] }),
  "no options": frame({ options: [] }),
  "zero-length option": changed(timedPacket, 34 + 23, 0),
  "option past the header": changed(timedPacket, 34 + 23, 200),
  "end of list first": changed(frame({ options: [addAddress] }), 34 + 20, 0),
  "another destination": frame({}, { ip: { ...v4, destination: parseIpAddress("192.0.2.1") } }),
  "another source": frame({}, { ip: { ...v4, source: parseIpAddress("10.2.0.3") } }),
  "IPv4 options": frame({}, { ip: { ...v4, options: new Uint8Array(8).fill(1) } }),
  IPv6: frame({}, { ip: v6 }),
  "IPv6 extension headers": frame({}, { ip: { ...v6, extensions: [hopByHop, { ...hopByHop, protocol: 60 }] } }),
  "one VLAN tag": frame({}, tags(1)),
  "two VLAN tags": frame({}, tags(2)),
  "three VLAN tags": frame({}, tags(3)),
  fragment: changed(timedPacket, 14 + 7, 5),
  UDP: changed(timedPacket, 14 + 9, 17),
  "short IPv4 header": changed(timedPacket, 14, 0x44),
  "IPv4 length below the headers": changed(timedPacket, 14 + 3, 30),
  "short TCP header": changed(timedPacket, 34 + 12, 0x40),
  "TCP header past the end": changed(timedPacket, 34 + 12, 0xf0),
  "cut in the TCP header": timedPacket.slice(0, 50),
};
