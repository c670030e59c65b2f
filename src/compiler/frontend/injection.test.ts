import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chain, type VmRunner } from "../testing/policy-harness.ts";
import { makeFrame, type PacketParts } from "../testing/packets.ts";
import type { Hook } from "../index.ts";
import { segmentMakers } from "../testing/segment-makers.ts";
import { parsePacket, type Packet, type TcpOption } from "../../wire/index.ts";
import { frame } from "../../wire/testing.ts";

const timestamps: TcpOption = { kind: "timestamps", value: 0x0a0b_0c0d, echoReply: 0x0102_0304 };
const nop: TcpOption = { kind: "nop" };
/** As Linux writes them. */
const usual: readonly TcpOption[] = [nop, nop, timestamps];
const v6 = { source: "fd00::2", destination: "fd00::1" };
const dataAck: TcpOption = { kind: "unknown", bytes: Uint8Array.of(30, 8, 0x20, 1, 0, 0, 0, 1) };

const vmOf = (actor: string, hook: Hook = "tcx_ingress"): VmRunner =>
  chain({ source: segmentMakers, actors: [actor] }).vm(hook);

/** A packet whose checksums and lengths are right. */
function sound(bytes: Uint8Array): Packet {
  const packet = parsePacket(bytes);
  expect(packet.ip).not.toHaveProperty("checksum");
  expect(packet.tcp).not.toHaveProperty("checksum");
  return packet;
}

const isSound = ({ ip, tcp }: Packet): boolean => !("checksum" in (ip ?? {})) && tcp?.checksum === undefined;

const kinds = (packet: Packet): readonly string[] =>
  packet.tcp!.options.map(({ kind }) => kind).filter((kind) => kind !== "nop");

describe("packet.insert()", () => {
  it.each<[string, PacketParts]>([
    ["an IPv4 segment", { options: usual }],
    ["one with payload", { options: usual, payload: 1001 }],
    ["an IPv6 segment", { ...v6, options: usual, payload: 20 }],
    ["one in a VLAN, with IP options", { vlans: [7], ipOptions: new Uint8Array(8).fill(1), payload: 3 }],
    ["one with trailing bytes", { trailer: 6 }],
  ])("puts the option in front of the others of %s", (_, parts) => {
    for (const hook of ["xdp", "tcx_ingress", "tcx_egress"] as const) {
      const { verdict, packet } = vmOf("insert_priority", hook).run(makeFrame(parts), hook);
      expect(verdict).toBe("pass");
      const { tcp, payload } = sound(packet);
      expect(tcp!.options[0]).toMatchObject({ kind: "mpPrio", backup: true, addressId: 7 });
      expect(tcp!.options.slice(1)).toEqual(parts.options ?? []);
      expect(payload).toEqual(new Uint8Array(parts.payload ?? 0).fill(7));
    }
  });

  it("leaves a packet as it was where the header has no room, and says so", () => {
    const full: readonly TcpOption[] = [
      ...usual,
      { kind: "unknown", bytes: Uint8Array.of(253, 28, ...Array(26).fill(1)) },
    ];
    const vm = vmOf("insert_priority");
    const before = makeFrame({ options: full });
    expect(vm.run(before)).toEqual({ verdict: "pass", packet: before });
    expect(vm.counters().cannot).toEqual([{ no_room: 1 }]);
    expect(vm.counters().acted).toEqual([0]);
  });

  it("leaves a segment that outgrows the interface it leaves by, or is still to be cut up", () => {
    const before = makeFrame({ options: usual, payload: 1448 });
    const egress = vmOf("insert_priority", "tcx_egress");
    expect(egress.run(before, "tcx_egress", { mtu: 1500 }).packet).toEqual(before);
    expect(egress.run(before, "tcx_egress", { mtu: 1504 }).packet.length).toBe(before.length + 4);
    const merged = vmOf("insert_priority");
    expect(merged.run(before, "tcx_ingress", { gsoSize: 1400 }).packet).toEqual(before);
    expect(merged.run(makeFrame({ options: usual }), "tcx_ingress", { gsoSize: 1400 }).packet.length).toBe(70);
  });

  it("leaves a sound packet sound, whatever it is", () => {
    const vm = vmOf("insert_priority");
    const property = fc.property(frame(), (before) => {
      const actedBefore = vm.counters().acted[0];
      const { packet } = vm.run(before);
      if (vm.counters().acted[0] === actedBefore) {
        expect(packet).toEqual(before);
      } else if (isSound(parsePacket(before))) {
        expect(kinds(sound(packet))).toContain("mpPrio");
      }
    });
    fc.assert(property, { numRuns: 500, seed: 5 });
    expect(vm.counters().acted[0]).toBeGreaterThan(0);
  });

  it("puts nothing into what an actor before it dropped, and says so", () => {
    const vm = chain({ source: segmentMakers, actors: ["drop", "insert_priority"] }).vm("tcx_ingress");
    const before = makeFrame({ options: usual });
    expect(vm.run(before)).toEqual({ verdict: "drop", packet: before });
    expect(vm.counters().cannot).toEqual([{}, { no_room: 1 }]);
  });

  it("puts a saved option in again, from a field that has room for more than a header", () => {
    const { packet } = vmOf("insert_saved").run(makeFrame({ options: [...usual, dataAck], payload: 3 }));
    const { tcp } = sound(packet);
    expect(tcp!.options.slice(1)).toEqual([...usual, tcp!.options[0]]);
    expect(tcp!.options[0].kind).toBe("dss");
  });

  it("takes numbers at the width of their types", () => {
    const { packet } = vmOf("insert_wide").run(makeFrame());
    expect(sound(packet).tcp!.options).toEqual([
      { kind: "unknown", bytes: Uint8Array.of(253, 9, 0x12, 0x34, 0x01, 0x02, 0x03, 0x04, 5) },
      nop,
      nop,
      nop,
    ]);
  });
});

describe("packet.duplicate()", () => {
  it.each<[string, PacketParts]>([
    ["with timestamps", { options: [...usual, dataAck] }],
    ["without", { options: [dataAck] }],
    ["of IPv6", { ...v6, options: [...usual, dataAck] }],
  ])("sends a pure ACK with the option ahead of a packet %s, which stays as it was", (_, parts) => {
    const before = makeFrame(parts);
    const { verdict, packet, clones } = vmOf("duplicate_priority").run(before);
    expect({ verdict, packet }).toEqual({ verdict: "pass", packet: before });
    expect(clones).toHaveLength(1);
    expect(clones![0]).toMatchObject({ ifindex: 1, flags: 1n });
    const [copy, original] = [sound(clones![0].packet), parsePacket(before)];
    expect(copy.ip).toEqual(original.ip);
    expect(copy.tcp).toMatchObject({ ...original.tcp, options: expect.anything() });
    expect(kinds(copy)).toEqual([...kinds(original).filter((kind) => kind === "timestamps"), "mpPrio"]);
    expect(copy.payload).toHaveLength(0);
  });

  it("lets a packet with payload go on as the copy, since what is cut off cannot be put back", () => {
    const before = makeFrame({ options: [...usual, dataAck], payload: 1448 });
    const { verdict, packet, clones } = vmOf("duplicate_priority").run(before);
    expect(verdict).toBe("pass");
    expect(clones).toEqual([{ ifindex: 1, flags: 1n, packet: before }]);
    const copy = sound(packet);
    expect(kinds(copy)).toEqual(["timestamps", "mpPrio"]);
    expect(copy.payload).toHaveLength(0);
    expect(copy.tcp).toMatchObject({ sequence: 0x0102_0304, acknowledgment: 0xf1f2_f3f4 });
  });

  it("has the number behind the payload where the packet with it goes first, as it leaves", () => {
    const before = makeFrame({ options: [...usual, dataAck], payload: 1448 });
    const { packet, clones } = vmOf("duplicate_priority", "tcx_egress").run(before, "tcx_egress", { ifindex: 9 });
    expect(clones).toEqual([{ ifindex: 9, flags: 0n, packet: before }]);
    expect(sound(packet).tcp).toMatchObject({ sequence: 0x0102_0304 + 1448, acknowledgment: 0xf1f2_f3f4 });
  });

  it("leaves a packet with payload and a mark alone: it would lose the mark", () => {
    const before = makeFrame({ payload: 5 });
    const vm = vmOf("duplicate_priority");
    expect(vm.run(before, "tcx_ingress", { mark: 3 })).toEqual({ verdict: "pass", packet: before });
  });

  it("goes out where the packet does", () => {
    const { clones } = vmOf("duplicate_priority", "tcx_egress").run(makeFrame(), "tcx_egress", { ifindex: 9 });
    expect(clones![0]).toMatchObject({ ifindex: 9, flags: 0n });
  });

  it.each<[string, PacketParts]>([
    ["SYN", { tcp: { flags: 0x12 } }],
    ["FIN", { tcp: { flags: 0x11 } }],
    ["RST", { tcp: { flags: 0x14 } }],
  ])("copies nothing that carries more: %s", (_, parts) => {
    const before = makeFrame(parts);
    const vm = vmOf("duplicate_priority");
    expect(vm.run(before)).toEqual({ verdict: "pass", packet: before });
    expect(vm.counters().cannot).toEqual([{ no_room: 1 }]);
  });

  it("is not shown to its own chain again", () => {
    const vm = vmOf("duplicate_priority");
    const before = makeFrame();
    const { clones } = vm.run(before);
    const again = vm.vms["tcx_ingress"].runPacket(clones![0].packet, { mark: 0x656d_7063 });
    expect(again.clones).toEqual([]);
    expect(again.context.mark).toBe(0n);
    expect(vm.counters().seen).toBe(1);
  });
});

describe("packet.answer()", () => {
  it.each<[string, PacketParts]>([
    ["IPv4", { options: [...usual, dataAck] }],
    ["IPv6", { ...v6, options: usual }],
  ])("turns a pure ACK around: %s", (_, parts) => {
    const before = makeFrame(parts);
    const { verdict, packet, redirect } = vmOf("answer_priority").run(before);
    expect(verdict).toBe("redirect");
    expect(redirect).toEqual({ ifindex: 1, flags: 0n });
    expect(vmOf("answer_priority", "xdp").run(before, "xdp")).toEqual({ verdict, packet });
    const [answer, original] = [sound(packet), parsePacket(before)];
    expect(answer.ethernet!.source).toEqual(original.ethernet!.destination);
    expect(answer.ip).toMatchObject({ source: original.ip!.destination, destination: original.ip!.source });
    expect(answer.tcp).toMatchObject({
      sourcePort: original.tcp!.destinationPort,
      destinationPort: original.tcp!.sourcePort,
      sequence: original.tcp!.acknowledgment,
      acknowledgment: original.tcp!.sequence,
      window: 500,
      flags: 0x10,
    });
    expect(answer.tcp!.options).toEqual([
      nop,
      nop,
      { kind: "timestamps", value: 0x0102_0304, echoReply: 0x0a0b_0c0d },
      expect.objectContaining({ kind: "mpPrio", addressId: 7 }),
    ]);
  });

  it("gives the answer to this host, as if it had arrived, where packets leave", () => {
    const { redirect } = vmOf("answer_priority", "tcx_egress").run(makeFrame({ options: usual }), "tcx_egress");
    expect(redirect).toEqual({ ifindex: 1, flags: 1n });
  });
});

describe("packet.redirect() and packet.mirror()", () => {
  it("send the packet, or a copy of it, elsewhere", () => {
    const before = makeFrame({ payload: 9 });
    const redirected = vmOf("elsewhere").run(before);
    expect(redirected).toMatchObject({ verdict: "redirect", redirect: { ifindex: 12, flags: 0n } });
    const mirrored = vmOf("copied").run(before);
    expect(mirrored.verdict).toBe("pass");
    expect(mirrored.clones).toEqual([{ ifindex: 13, flags: 0n, packet: before }]);
  });

  it("send nothing that is dropped", () => {
    expect(vmOf("dropped_elsewhere").run(makeFrame()).verdict).toBe("drop");
  });
});

describe("packet.ethernet, packet.mark and the traffic class", () => {
  it.each<[string, PacketParts]>([
    ["IPv4", {}],
    ["IPv6", v6],
  ])("can be written: %s", (_, parts) => {
    for (const hook of ["tcx_ingress", "tcx_egress"] as const) {
      const vm = vmOf("repaint", hook);
      const result = vm.vms[hook].runPacket(makeFrame(parts));
      expect(result.context.mark).toBe(77n);
      const { ethernet, ip } = sound(result.packet);
      expect([...ethernet!.destination]).toEqual([2, 0, 0, 0, 0, 0x99]);
      expect([...ethernet!.source]).toEqual([0, 0, 0, 0, 0, 0]);
      expect(ip!.trafficClass).toBe((46 << 2) | 3);
    }
  });
});
