import * as fc from "fast-check";
import { expect, test } from "vitest";
import { packetChanges } from "./changes.ts";
import { emitPacket, parsePacket, type Packet } from "./packet.ts";
import { TcpFlag, type Tcp } from "./tcp.ts";
import { frame } from "./testing.ts";

const addAddr = {
  kind: "addAddr",
  version: 1,
  echo: false,
  addressId: 2,
  address: Uint8Array.of(10, 0, 0, 7),
  hmac: 0xabcn,
} as const;

const packet: Packet = {
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
    source: Uint8Array.of(10, 0, 0, 1),
    destination: Uint8Array.of(10, 0, 0, 2),
    options: new Uint8Array(0),
  },
  tcp: {
    sourcePort: 80,
    destinationPort: 5000,
    sequence: 1,
    acknowledgment: 2,
    flags: TcpFlag.ack,
    window: 501,
    urgentPointer: 0,
    options: [addAddr, { kind: "nop" }],
  },
  ethernet: { destination: new Uint8Array(6), source: new Uint8Array(6), tags: [], etherType: 0x0800 },
  payload: new Uint8Array(3),
};
const withTcp = (tcp: Partial<Tcp>): Packet => ({ ...packet, tcp: { ...packet.tcp!, ...tcp } });
const changes = (after: Packet) => packetChanges(emitPacket(packet), emitPacket(after));

test("packetChanges() names header fields, with their values before and after", () => {
  expect(changes(withTcp({ window: 120, flags: TcpFlag.ack | TcpFlag.psh }))).toEqual([
    { field: "tcp.window", before: "501", after: "120" },
    { field: "tcp.flags", before: "ACK", after: "PSH,ACK" },
  ]);
  expect(changes({ ...packet, ip: { ...packet.ip!, trafficClass: 0xb9 } })).toEqual([
    { field: "ip.dscp", before: "0", after: "46" },
    { field: "ip.ecn", before: "0", after: "1" },
  ]);
});

test("packetChanges() tells options that were removed, added and replaced, and is silent about padding", () => {
  const text = "ADD_ADDR version=1 addressId=2 10.0.0.7 hmac=0xabc";
  const padding = Array.from({ length: 16 }, () => ({ kind: "nop" }) as const);
  expect(changes(withTcp({ options: padding }))).toEqual([{ field: "option ADD_ADDR", before: text }]);
  expect(changes(withTcp({ options: [addAddr, { kind: "sackPermitted" }] }))).toEqual([
    { field: "option SACK permitted", after: "SACK permitted" },
  ]);
  expect(changes(withTcp({ options: [{ ...addAddr, addressId: 3 }] }))).toEqual([
    { field: "option ADD_ADDR", before: text, after: text.replace("addressId=2", "addressId=3") },
  ]);
});

test("packetChanges() tells of a checksum only when it went wrong or was put right", () => {
  expect(changes(withTcp({ window: 7, checksum: 0x1234 }))).toContainEqual({ field: "tcp.checksum", after: "wrong" });
  expect(packetChanges(emitPacket(withTcp({ checksum: 1 })), emitPacket(withTcp({ checksum: 2 })))).toEqual([]);
});

test("packetChanges() tells of another payload", () => {
  expect(changes({ ...packet, payload: new Uint8Array(5) })).toEqual([
    { field: "payload", before: "3 bytes", after: "5 bytes" },
  ]);
});

test("packetChanges() finds no change between a frame and itself, and compares any two frames", () => {
  fc.assert(
    fc.property(frame(), frame(), (one, other) => {
      expect(packetChanges(one, one.slice())).toEqual([]);
      for (const { before, after } of packetChanges(one, other)) expect(before).not.toEqual(after);
      expect(() => parsePacket(other)).not.toThrow();
    }),
  );
});
