import { readFileSync, writeFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemberSet } from "../chain/member-set.ts";
import { disassemble } from "../bpf/disassemble.ts";
import type { Hook } from "../compiler/index.ts";
import { capturedFrames, locateTcp } from "../compiler/testing/frames.ts";
import { makeFrame } from "../compiler/testing/packets.ts";
import { chain, type ChainOptions } from "../compiler/testing/policy-harness.ts";
import { parseIpAddress, parsePacket, type Packet, type TcpOption } from "../wire/index.ts";
import { frame } from "../wire/testing.ts";

const addAddress = { kind: "unknown", bytes: Uint8Array.of(30, 8, 0x30, 5, 10, 0, 0, 9) } as const;
const addAddressEcho = { kind: "unknown", bytes: Uint8Array.of(30, 8, 0x31, 5, 10, 0, 0, 9) } as const;
const dss = { kind: "unknown", bytes: Uint8Array.of(30, 8, 0x20, 1, 0, 0, 0, 1) } as const;
const timestamps = (value: number, echoReply: number): TcpOption => ({ kind: "timestamps", value, echoReply });

/** Options as their raw bytes, from a frame. */
function optionKinds(bytes: Uint8Array): string[] {
  return parsePacket(bytes).tcp!.options.map(({ kind }) => kind);
}

const announces = ({ tcp }: Packet): boolean =>
  tcp?.options.some((option) => option.kind === "addAddr" && !("echo" in option && option.echo)) ?? false;

describe("blk_subflow", () => {
  const block = chain({ actors: ["blk_subflow"] });

  it("takes the announcement out of a segment that carries more", () => {
    const before = makeFrame({ options: [timestamps(1, 2), { kind: "nop" }, { kind: "nop" }, dss, addAddress] });
    const { verdict, packet } = block.vm().run(before);
    expect(verdict).toBe("pass");
    expect(optionKinds(packet)).not.toContain("addAddr");
    expect(packet.length).toBe(before.length);
    expect(parsePacket(packet).tcp).not.toHaveProperty("checksum");
  });

  it("drops a segment that carries an announcement alone", () => {
    expect(block.vm().run(makeFrame({ options: [addAddress] })).verdict).toBe("drop");
  });

  it.each<[string, Parameters<typeof makeFrame>[0]]>([
    ["an echo of our own announcement", { options: [addAddressEcho] }],
    ["a data sequence signal", { options: [dss] }],
    ["no options", {}],
  ])("leaves alone %s", (_, parts) => {
    const before = makeFrame(parts);
    const vm = block.vm();
    expect(vm.run(before)).toEqual({ verdict: "pass", packet: before });
    expect(vm.counters().acted).toEqual([0]);
  });

  it("lets no announcement through that is no echo, whatever the packet", () => {
    const vm = block.vm();
    const property = fc.property(frame(), (before) => {
      const { verdict, packet } = vm.run(before);
      expect(verdict === "pass" && locateTcp(before) !== undefined && announces(parsePacket(packet))).toBe(false);
    });
    fc.assert(property, { numRuns: 1000, seed: 3 });
  });
});

/** A connection that rate_limit and record see on both hooks: ours at 10.0.0.1:80. */
const arriving = (options: readonly TcpOption[], tcp: object = {}): Uint8Array => makeFrame({ options, tcp });
const leaving = (options: readonly TcpOption[], tcp: object = {}): Uint8Array =>
  makeFrame({
    source: "10.0.0.1",
    destination: "10.0.0.2",
    options,
    tcp: { sourcePort: 80, destinationPort: 5001, ...tcp },
  });
const bothWays = ["tcx_ingress", "tcx_egress"] as const;

describe("record", () => {
  it("counts packets and bytes by direction and measures the round-trip time", () => {
    const vm = chain({ actors: ["record"] }).vm(...bothWays);
    const [out, back] = [leaving([timestamps(100, 1)]), arriving([timestamps(1, 100)])];
    vm.run(out, "tcx_egress");
    vm.clockNs += 20_000_000n;
    vm.run(back, "tcx_ingress");
    vm.run(back, "tcx_ingress");
    const [{ fields }] = vm.state()["0.flows"];
    expect(fields).toMatchObject({ packetsIn: 2n, packetsOut: 1n, rttUs: 20_000n, stampNs: 0n });
    expect(fields).toMatchObject({ bytesIn: BigInt(2 * back.length), bytesOut: BigInt(out.length) });
  });

  it("does not take an older echo for that of the packet it timed", () => {
    const vm = chain({ actors: ["record"] }).vm(...bothWays);
    vm.run(leaving([timestamps(100, 1)]), "tcx_egress");
    vm.clockNs += 1_000_000n;
    vm.run(arriving([timestamps(1, 99)]), "tcx_ingress");
    expect(vm.state()["0.flows"][0].fields["rttUs"]).toBe(0n);
    vm.clockNs += 1_000_000n;
    vm.run(arriving([timestamps(1, 101)]), "tcx_ingress");
    expect(vm.state()["0.flows"][0].fields["rttUs"]).toBe(2000n);
  });
});

/** A limiter that has seen the handshake and one round trip of `rttUs`. */
function measured(rate: string, rttUs: bigint, shift: number) {
  const vm = chain({ actors: [["rate_limit", { rate }]] }).vm(...bothWays);
  vm.run(leaving([timestamps(100, 0)], { flags: 0x02 }), "tcx_egress");
  vm.clockNs += rttUs * 1000n;
  vm.run(arriving([timestamps(1, 100), { kind: "windowScale", shift }], { flags: 0x12 }), "tcx_ingress");
  const windowAfter = (window: number): number =>
    parsePacket(vm.run(arriving([], { window }), "tcx_ingress").packet).tcp!.window;
  return { vm, windowAfter };
}

describe("rate_limit", () => {
  it("lowers the window of an ACK to what the rate fills in one round trip", () => {
    // 8 Mbit/s for 20 ms are 20 000 bytes, 156 units of 128.
    const { windowAfter } = measured("8mbit", 20_000n, 7);
    expect([1000, 157, 156, 155, 0].map(windowAfter)).toEqual([156, 156, 156, 155, 0]);
  });

  it("follows the rate while the connection runs", () => {
    const { vm, windowAfter } = measured("8mbit", 20_000n, 7);
    vm.set(0, { rate: "16mbit" });
    expect(windowAfter(60_000)).toBe(312);
  });

  it("never closes the window, and takes shifts above 14 for 14", () => {
    expect(measured("8kbit", 1n, 7).windowAfter(1000)).toBeGreaterThan(0);
    expect(measured("8mbit", 20_000n, 200).windowAfter(1000)).toBe(1);
  });

  it("leaves a window that would have to be larger than the field alone", () => {
    expect(measured("10gbit", 20_000n, 0).windowAfter(65_535)).toBe(65_535);
  });

  it("says why it does nothing, and leaves the packet as it was", () => {
    const vm = chain({ actors: [["rate_limit", { rate: "8mbit" }]] }).vm(...bothWays);
    const ack = arriving([]);
    expect(vm.run(ack).packet).toEqual(ack);
    expect(vm.counters().cannot).toEqual([{ no_room: 0, unknown_scale: 1 }]);
  });

  it("takes a connection without timestamps for one of 100 ms", () => {
    const vm = chain({ actors: [["rate_limit", { rate: "8mbit" }]] }).vm(...bothWays);
    vm.run(arriving([{ kind: "windowScale", shift: 7 }], { flags: 0x02 }));
    // 8 Mbit/s for 100 ms are 100 000 bytes, 781 units of 128.
    expect(parsePacket(vm.run(arriving([], { window: 60_000 })).packet).tcp!.window).toBe(781);
  });

  it("leaves SYN and RST segments as they are", () => {
    const { vm } = measured("8kbit", 20_000n, 7);
    for (const flags of [0x02, 0x12, 0x04, 0x14]) {
      const segment = arriving([], { flags });
      expect(vm.run(segment, "tcx_ingress").packet).toEqual(segment);
    }
  });
});

const pacing: ChainOptions = { actors: [["pace", { rate: "10mbit" }]] };
const calls = [{ level: 1, option: 47, value: Uint8Array.of(0xd0, 0x12, 0x13, 0) }];

const word = (address: string, index: number): number =>
  new DataView(parseIpAddress(address).buffer).getUint32(4 * index, true);

/** What bpf_sock_ops shows of a socket: network order but for the local port. */
function socketFields(local: string, remote: string, localPort: number, remotePort: number) {
  const port = ((remotePort & 0xff) << 24) | ((remotePort >> 8) << 16);
  const ports = { localPort, remotePort: port >>> 0 };
  if (!local.includes(":")) return { family: 2, localIp4: word(local, 0), remoteIp4: word(remote, 0), ...ports };
  const words = Object.fromEntries(
    [0, 1, 2, 3].flatMap((i) => [
      [`localIp6Word${i}`, word(local, i)],
      [`remoteIp6Word${i}`, word(remote, i)],
    ]),
  );
  const mapped = local.startsWith("::ffff:");
  return { family: 10, ...words, ...(mapped && { localIp4: word(local, 3), remoteIp4: word(remote, 3) }), ...ports };
}

const v4 = { local: "10.0.0.1", remote: "10.0.0.2", localPort: 443, remotePort: 5001 };
const v6 = { local: "fd00::1", remote: "fd00::2", localPort: 443, remotePort: 5001 };

describe("pace", () => {
  it("caps a connection when it is established, from either side, and at no other callback", () => {
    const vm = chain(pacing).vm("sock_ops").vms["sock_ops"];
    const socket = socketFields("10.0.0.1", "10.0.0.2", 443, 5001);
    for (const op of [4, 5])
      expect(vm.runSocket({ op, ...socket })).toMatchObject({ returnValue: 1, socketOptions: calls });
    for (const op of [0, 3, 6, 12]) expect(vm.runSocket({ op, ...socket }).socketOptions).toEqual([]);
  });

  it.each([
    ["IPv4", v4, "10.0.0.1", "10.0.0.2"],
    ["IPv6", v6, "fd00::1", "fd00::2"],
    ["IPv4 over an IPv6 socket", v4, "::ffff:10.0.0.1", "::ffff:10.0.0.2"],
  ])("caps only the subflow meant: %s", (_, tuple, local, remote) => {
    const vm = chain({ ...pacing, select: ["subflow", tuple] }).vm("sock_ops").vms["sock_ops"];
    const run = (...parts: Parameters<typeof socketFields>) =>
      vm.runSocket({ op: 4, ...socketFields(...parts) }).socketOptions;
    expect(run(local, remote, 443, 5001)).toEqual(calls);
    expect(run(local, remote, 443, 5002)).toEqual([]);
    expect(run(local, remote, 444, 5001)).toEqual([]);
    expect(run(remote, local, 443, 5001)).toEqual([]);
  });

  const sock = ({ local, remote, localPort, remotePort }: typeof v4, state = 1, family?: number) => {
    const [from, to] = [parseIpAddress(local), parseIpAddress(remote)];
    const suffix = from.length === 4 ? "" : "v6_";
    return {
      [`sock_common.skc_${suffix}rcv_saddr`]: from,
      [`sock_common.skc_${suffix}daddr`]: to,
      "sock_common.skc_state": state,
      "sock_common.skc_family": family ?? (from.length === 4 ? 2 : 10),
      "sock_common.skc_num": localPort,
      "sock_common.skc_dport": Uint8Array.of(remotePort >> 8, remotePort & 0xff),
    };
  };

  it("caps running connections that may still send, and no others, in a walk over all sockets", () => {
    const vm = chain({ ...pacing, select: ["subflow", v6] }).vm("iter_tcp").vms["iter_tcp"];
    const run = (fields: ReturnType<typeof sock>) => vm.runIteration(vm.objects.make("tcp_sock", fields)).socketOptions;
    expect([1, 8].map((state) => run(sock(v6, state)))).toEqual([calls, calls]);
    for (const state of [2, 6, 10, 12]) expect(run(sock(v6, state))).toEqual([]);
    expect(run(sock({ ...v6, remotePort: 1 }))).toEqual([]);
    expect(run(sock(v4))).toEqual([]);
    expect(vm.runIteration(undefined).socketOptions).toEqual([]);
  });

  it("lifts the cap in the walk that releases", () => {
    const vm = chain({ ...pacing, select: ["subflow", v4] }).vm("iter_tcp_release").vms["iter_tcp_release"];
    const [call] = vm.runIteration(vm.objects.make("tcp_sock", sock(v4))).socketOptions;
    expect(call).toEqual({ level: 1, option: 47, value: Uint8Array.of(255, 255, 255, 255) });
  });
});

describe("a chain", () => {
  it("counts what each part saw, in the kernel's captures", () => {
    const select = { and: [["dst", { prefix: "0.0.0.0/0" }], { not: ["packet_type", { type: "data" }] }] } as const;
    const vm = chain({ select, actors: ["record", "blk_subflow"] }).vm();
    const frames = capturedFrames();
    for (const one of frames) vm.run(one);
    const packets = frames.map((one) => parsePacket(one));
    const v4 = packets.filter(({ ip }) => ip?.version === 4);
    const data = v4.filter(({ payload }) => payload.length > 0);
    const { seen, matched, acted } = vm.counters();
    expect({ seen, matched }).toEqual({ seen: frames.length, matched: [v4.length, data.length] });
    expect(acted[0]).toBe(v4.length - data.length);
  });
});

const listings: readonly (readonly [name: string, options: ChainOptions, hooks: readonly Hook[]])[] = [
  ["record", { actors: ["record"] }, ["tcx_ingress", "tcx_egress", "xdp"]],
  ["blk_subflow", { actors: ["blk_subflow"] }, ["tcx_ingress", "xdp"]],
  ["rate_limit", { actors: [["rate_limit", { rate: "10mbit" }]] }, ["tcx_ingress", "tcx_egress", "xdp"]],
  ["police", { actors: [["police", { rate: "10mbit" }]] }, ["tcx_ingress", "xdp"]],
  ["cap_window", { actors: [["cap_window", { window: 65_536 }]] }, ["tcx_ingress"]],
  ["clamp_mss", { actors: [["clamp_mss", { by: 8 }]] }, ["tcx_ingress"]],
  ["grant_credits", { actors: [["grant_credits", { rate: "10mbit" }]] }, ["tcx_egress"]],
  ["audit_credits", { actors: ["audit_credits"] }, ["tcx_ingress"]],
  ["pace", pacing, ["sock_ops", "iter_tcp", "iter_tcp_release"]],
  ["stack_weight", { actors: [["stack_weight", { weight: 70 }]] }, ["sock_ops", "iter_tcp", "iter_tcp_release"]],
  ["stack_coupled", { actors: [["stack_coupled", { algorithm: "olia" }]] }, ["sock_ops"]],
  ["follow_strategies", { actors: ["follow_strategies"] }, ["sock_ops", "iter_tcp_release"]],
  ["dst", { select: ["dst", { prefix: "10.0.0.0/8" }] }, ["tcx_ingress"]],
  ["src", { select: ["src", { prefix: "fd00::/64" }] }, ["tcx_ingress"]],
  ["ip_pair", { select: ["ip_pair", { local: "10.0.0.1", remote: "10.0.0.2" }] }, ["tcx_ingress"]],
  ["subflow", { select: ["subflow", v4] }, ["tcx_ingress", "sock_ops"]],
  ["packet_type", { select: ["packet_type", { type: "join_syn" }] }, ["tcx_ingress"]],
  ["mptcp_conn", { select: ["mptcp_conn", { token: 5 }] }, ["tcx_ingress"]],
  ["get_connect", { actors: ["get_connect"] }, ["tcx_ingress"]],
  ["port", { select: ["port", { port: 443 }] }, ["tcx_ingress", "sock_ops"]],
  ["set_of_pairs", { select: new MemberSet("ip_pair") }, ["tcx_ingress"]],
  ["set_of_prefixes", { select: new MemberSet("dst") }, ["tcx_ingress"]],
  ["sequence", { select: ["sequence", { of: "data", from: 1, to: 100_000 }] }, ["tcx_ingress"]],
];

/** Listings of the built-in policies as they are compiled. UPDATE_GOLDEN=1 writes them anew. */
describe("golden listings", () => {
  it.each(
    listings.flatMap(([name, options, hooks]) => hooks.map((hook) => [`${name}.${hook}`, options, hook] as const)),
  )("%s", (name, options, hook) => {
    const file = new URL(`golden/${name}.txt`, import.meta.url);
    // The same wherever the project lies.
    const instructions = chain(options)
      .compile(hook)
      .programs[hook].instructions.map((one) =>
        one.position
          ? { ...one, position: { ...one.position, file: one.position.file.replace(/^.*\/src\//, "src/") } }
          : one,
      );
    const listing = `${disassemble(instructions, { source: true })}\n`;
    if (process.env["UPDATE_GOLDEN"]) writeFileSync(file, listing);
    expect(listing).toBe(readFileSync(file, "utf8"));
  });
});
