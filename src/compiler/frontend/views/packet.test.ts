import { describe, expect, it } from "vitest";
import { outputs, writing } from "../../testing/outputs.ts";
import { makeFrame, type PacketParts } from "../../testing/packets.ts";
import { parsePacket } from "../../../wire/index.ts";

const v6 = { source: "fd00::2", destination: "fd00::1" };
const hopByHop = { kind: "other", protocol: 0, data: new Uint8Array(14) } as const;
const routing = { kind: "other", protocol: 43, data: new Uint8Array(22) } as const;
const authentication = { kind: "other", protocol: 51, data: new Uint8Array(10) } as const;

/** The same segment in all that can lie around it. */
const envelopes: Readonly<Record<string, PacketParts>> = {
  IPv4: {},
  "IPv4 with options": { ipOptions: new Uint8Array(40).fill(1) },
  "IPv4 in a VLAN": { vlans: [5] },
  "IPv4 in two VLANs": { vlans: [5, 6] },
  "IPv4 in a padded frame": { trailer: 6 },
  IPv6: v6,
  "IPv6 with extension headers": { ...v6, extensions: [hopByHop, routing] },
  "IPv6 in two VLANs, with an extension header": { ...v6, vlans: [5, 6], extensions: [hopByHop] },
};

const tcpBody = `const { tcp } = packet;
  out.x = (u64(tcp.sourcePort) << 48) | (u64(tcp.destinationPort) << 32) | tcp.sequence;
  out.y = (u64(tcp.acknowledgment) << 32) | (u64(tcp.window) << 16) | (tcp.headerLength << 8) | tcp.payloadLength;
  out.z = (u64(packet.length) << 32) | (u32(packet.ip.version) << 16) | packet.ip.ttl;`;

describe("packet", () => {
  it.each(Object.entries(envelopes))("shows the fields of a segment in %s", (_, envelope) => {
    const frame = makeFrame({
      ...envelope,
      ttl: 33,
      payload: 21,
      options: [{ kind: "windowScale", shift: 3 }, { kind: "nop" }],
    });
    const version = envelope.source ? 6n : 4n;
    for (const hook of ["xdp", "tcx_ingress", "tcx_egress"] as const)
      expect(outputs(writing(tcpBody, "", "", hook), frame)).toEqual([
        (5001n << 48n) | (80n << 32n) | 0x0102_0304n,
        (0xf1f2_f3f4n << 32n) | (1000n << 16n) | (24n << 8n) | 21n,
        (BigInt(frame.length) << 32n) | (version << 16n) | 33n,
      ]);
  });

  it("shows each flag of the TCP header", () => {
    const names = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
    const vm = writing(names.map((name, bit) => `if (packet.tcp.${name}) out.x |= ${1 << bit};`).join("\n"));
    for (let flags = 0; flags < 256; flags += 17)
      expect(outputs(vm, makeFrame({ tcp: { flags } }))[0]).toBe(BigInt(flags));
  });

  it("knows in which direction it goes", () => {
    const body = "if (packet.ingress) out.x = 1; if (packet.egress) out.y = 1;";
    expect(outputs(writing(body, "", "", "tcx_ingress"), makeFrame())).toEqual([1n, 0n, 0n]);
    expect(outputs(writing(body, "", "", "tcx_egress"), makeFrame())).toEqual([0n, 1n, 0n]);
  });

  it.each(Object.entries(envelopes))("keeps the checksum right when the window is written in %s", (_, envelope) => {
    const frame = makeFrame({ ...envelope, payload: 3 });
    const vm = writing("packet.tcp.window = u16(a);");
    for (const a of [0, 1, 1000, 0xfffe, 0xffff]) {
      vm.set(0, { a, b: 0, flag: false, word: "one" });
      const { tcp } = parsePacket(vm.run(frame).packet);
      expect(tcp).toMatchObject({ window: a });
      expect(tcp).not.toHaveProperty("checksum");
    }
  });

  it("drops a packet at the end of the chain, so that what comes behind the call still happens", () => {
    const vm = writing("if (flag) packet.drop(); out.x = 5;");
    vm.set(0, { a: 0, b: 0, flag: true, word: "one" });
    expect(vm.run(makeFrame()).verdict).toBe("drop");
    expect(vm.state()["0.out"][0].fields["x"]).toBe(5n);
    vm.set(0, { a: 0, b: 0, flag: false, word: "one" });
    expect(vm.run(makeFrame()).verdict).toBe("pass");
  });
});

describe("packets that are left alone", () => {
  it.each<[string, Uint8Array]>([
    ["what an authentication header protects", makeFrame({ ...v6, extensions: [authentication] })],
    ["three VLAN tags", makeFrame({ vlans: [1, 2, 3] })],
    ["nine extension headers", makeFrame({ ...v6, extensions: Array.from({ length: 9 }, () => hopByHop) })],
    ["a segment cut short", makeFrame().subarray(0, 53)],
  ])("%s", (_, frame) => {
    const vm = writing("packet.tcp.window = 5; packet.drop();");
    expect(vm.run(frame)).toEqual({ verdict: "pass", packet: Uint8Array.from(frame) });
    expect(vm.counters().seen).toBe(0);
  });
});

describe("packet.tcp.options", () => {
  const timestamps = { kind: "timestamps", value: 0x0a0b_0c0d, echoReply: 0x0102_0304 } as const;
  const join = { kind: "unknown", bytes: Uint8Array.of(30, 4, 0x10, 9) } as const;
  const frame = makeFrame({
    options: [{ kind: "nop" }, { kind: "nop" }, timestamps, join, { kind: "windowScale", shift: 7 }, { kind: "nop" }],
  });

  it("are met in order, without NOPs, and can be read at every width", () => {
    const body = `for (const option of packet.tcp.options) {
      out.z = out.z * 100 + option.kind;
      if (option.kind === kind.timestamps) { out.x = option.u32(2); out.y = (option.u64(2) << 16) | option.u16(4); }
    }`;
    expect(outputs(writing(body), frame)).toEqual([
      0x0a0b_0c0dn,
      ((0x0a0b_0c0d_0102_0304n << 16n) & (2n ** 64n - 1n)) | 0x0c0dn,
      83_003n,
    ]);
  });

  it("read as zero where they are shorter than asked", () => {
    const body =
      "for (const option of packet.tcp.options) if (option.kind === kind.mptcp) { out.x = option.u16(3); out.y = option.u8(3); out.z = option.u32(38); }";
    expect(outputs(writing(body), frame)).toEqual([0n, 9n, 0n]);
  });

  it("have the MPTCP subtype, or -1", () => {
    const body =
      "for (const option of packet.tcp.options) { if (option.subtype === subtype.join) out.x = option.length; if (option.subtype === -1) out.y += 1; }";
    expect(outputs(writing(body), frame)).toEqual([4n, 2n, 0n]);
  });

  it.each([
    ["continue", "if (option.kind === kind.timestamps) continue; out.x += 1;", [2n, 0n, 0n]],
    [
      "break, from within an if",
      "out.x += 1; if (option.kind === kind.mptcp) { if (option.length > 3) break; } out.y += 1;",
      [2n, 1n, 0n],
    ],
    ["return", "out.x += 1; return;", [1n, 0n, 0n]],
    [
      "a switch",
      "switch (option.kind) { case 8: out.x += 1; break; case 30: continue; default: out.z += 1; } out.y += 1;",
      [1n, 2n, 1n],
    ],
  ])("are left and gone on with by %s", (_, body, expected) => {
    expect(outputs(writing(`for (const option of packet.tcp.options) { ${body} }`), frame)).toEqual(expected);
  });

  it("keep their bytes until the turn of the actor that removes them ends", () => {
    const body =
      "for (const option of packet.tcp.options) if (option.kind === kind.mptcp) option.remove(); for (const option of packet.tcp.options) if (option.kind === kind.mptcp) out.x = 1;";
    const vm = writing(body);
    expect(outputs(vm, frame)[0]).toBe(1n);
    const { tcp } = parsePacket(vm.run(frame).packet);
    expect(tcp!.options.map(({ kind }) => kind)).toEqual([
      "nop",
      "nop",
      "timestamps",
      ...Array(4).fill("nop"),
      "windowScale",
      "nop",
    ]);
    expect(tcp).not.toHaveProperty("checksum");
  });

  it("can all be removed, 40 bytes full", () => {
    const full = makeFrame({
      options: [{ kind: "nop" }, { kind: "unknown", bytes: Uint8Array.from([253, 39, ...Array(37).fill(0xee)]) }],
    });
    const { packet } = writing("for (const option of packet.tcp.options) option.remove();").run(full);
    expect(parsePacket(packet).tcp!.options.map(({ kind }) => kind)).toEqual(Array(40).fill("nop"));
  });
});

/** Writes `a` into timestamps. */
const settingTimestamps = (offset: number) =>
  `for (const option of packet.tcp.options) if (option.kind === kind.timestamps) option.setU16(${offset}, u16(a));`;

describe("option.setU16", () => {
  const timestamps = { kind: "timestamps", value: 0x0a0b_0c0d, echoReply: 0x0102_0304 } as const;

  it.each(Object.entries(envelopes))("writes two bytes and keeps the checksum right in %s", (_, envelope) => {
    for (const before of [0, 1]) {
      const options = [...Array.from({ length: before }, () => ({ kind: "nop" }) as const), timestamps];
      const frame = makeFrame({ ...envelope, options, payload: 3 });
      const vm = writing(settingTimestamps(5));
      for (const a of [0, 1, 0x1234, 0xfffe, 0xffff]) {
        vm.set(0, { a, b: 0, flag: false, word: "one" });
        const { tcp } = parsePacket(vm.run(frame).packet);
        const written = { value: 0x0a0b_0c00 + (a >> 8), echoReply: ((a & 0xff) << 24) | 0x0002_0304 };
        expect(tcp!.options.at(before)).toMatchObject({ ...written, echoReply: written.echoReply >>> 0 });
        expect(tcp).not.toHaveProperty("checksum");
      }
    }
  });

  it("does nothing where the option is too short", () => {
    const frame = makeFrame({ options: [timestamps] });
    const vm = writing(settingTimestamps(9));
    expect(vm.run(frame).packet).toEqual(frame);
    expect(vm.counters().acted).toEqual([0]);
  });
});
