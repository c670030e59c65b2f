import { describe, expect, it } from "vitest";
import { MemberSet } from "../../chain/member-set.ts";
import { u16, u32, type Selector } from "../../policy/index.ts";
import { parsePacket } from "../../wire/index.ts";
import { makeFrame } from "../testing/packets.ts";
import { chain } from "../testing/policy-harness.ts";
import { policySource } from "../testing/policy-source.ts";

/** Sets the window to what the member says. */
const source = policySource(`
import { actor, selector, u16, u32, u64, flows } from "emptcp/policy";
export const fix = actor({
  name: "fix",
  direction: "both",
  params: { window: u16 },
  run({ tcp }, { window }) { tcp.window = window; },
});
export const count = actor({
  name: "count",
  direction: "both",
  state: { seen: flows({ packets: u64 }) },
  run(packet, _params, { seen }) {
    const flow = seen.getOrCreate(packet.flow);
    if (flow !== undefined) flow.packets += 1;
  },
});
export const lengths = selector({
  name: "lengths",
  params: { long: u64, small: u16, ack: u32 },
  run: () => true,
  member({ tcp }) {
    if (tcp.syn) return undefined;
    const small = u16(tcp.payloadLength);
    return { small, ack: tcp.acknowledgment, long: u64(tcp.sequence) << 8 };
  },
});
export const peer = selector({
  name: "peer",
  params: { token: u32 },
  state: { known: flows({ token: u32 }) },
  observe(packet, { known }) {
    if (!packet.tcp.syn) return;
    const flow = known.getOrCreate(packet.flow);
    if (flow !== undefined) flow.token = packet.tcp.sequence;
  },
  run: () => true,
  member(packet, _params, { known }) {
    const flow = known.get(packet.flow);
    if (flow === undefined) return undefined;
    return { token: flow.token };
  },
});
export const unclear = selector({
  name: "unclear",
  params: { port: u16 },
  run: () => true,
  member: ({ flow, tcp }) => (tcp.syn ? { port: flow.localPort } : { port: flow.remotePort }),
});
`);
const policy = (name: string): Selector => source.policies.get(name) as Selector;

const window = (bytes: Uint8Array): number => parsePacket(bytes).tcp!.window;

function run(set: MemberSet, before: readonly string[] = []) {
  const actors = [...before, ["fix", { window: set.param("window" as never) }] as const];
  return chain({ source, select: set, actors }).vm("tcx_ingress");
}

describe("a set", () => {
  it("gives the parameters of the member matched, for IPv4 and IPv6, and matches no other", () => {
    const members = [
      { local: "10.0.0.1", remote: "10.0.0.2", localPort: 80, remotePort: 5001, window: 1 },
      { local: "10.0.0.1", remote: "10.0.0.2", localPort: 80, remotePort: 5002, window: 2 },
      { local: "fd00::1", remote: "fd00::2", localPort: 80, remotePort: 5001, window: 3 },
    ];
    const vm = run(new MemberSet("subflow", { params: { window: u16 }, members }));
    const windowOf = (sourcePort: number, [source, destination]: readonly [string, string]): number =>
      window(vm.run(makeFrame({ source, destination, tcp: { sourcePort } })).packet);
    const v4 = ["10.0.0.2", "10.0.0.1"] as const;
    expect([5001, 5002, 5003].map((port) => windowOf(port, v4))).toEqual([1, 2, 1000]);
    expect([5001, 5002].map((port) => windowOf(port, ["fd00::2", "fd00::1"]))).toEqual([3, 1000]);
    expect(vm.counters()).toMatchObject({ seen: 5, matched: [3], acted: [3] });
  });

  it("takes IPv4-mapped addresses for the IPv4 ones, as records by flow do", () => {
    const members = [{ local: "::ffff:10.0.0.1", remote: "::ffff:10.0.0.2", window: 7 }];
    const vm = run(new MemberSet("ip_pair", { params: { window: u16 }, members }));
    expect(window(vm.run(makeFrame()).packet)).toBe(7);
  });

  it("keeps the member's parameters past actors that look up records of their own", () => {
    const members = [{ local: "10.0.0.1", remote: "10.0.0.2", window: 7 }];
    const vm = run(new MemberSet("ip_pair", { params: { window: u16 }, members }), ["count", "record"]);
    expect(window(vm.run(makeFrame()).packet)).toBe(7);
    expect(vm.state()["0.seen"]).toHaveLength(1);
  });

  it("finds the longest prefix, and none of the other IP version", () => {
    const members = [
      { prefix: "10.0.0.0/8", window: 8 },
      { prefix: "10.1.0.0/16", window: 16 },
      { prefix: "10.1.2.3", window: 32 },
      { prefix: "::/0", window: 6 },
      { prefix: "fd00::/17", window: 17 },
    ];
    const vm = run(new MemberSet("src", { params: { window: u16 }, members }));
    const from = (source: string): number =>
      window(vm.run(makeFrame({ source, destination: source.includes(":") ? "fd00::1" : "10.0.0.1" })).packet);
    expect(["10.1.2.3", "10.1.2.4", "10.2.0.1", "11.0.0.1"].map(from)).toEqual([32, 16, 8, 1000]);
    expect(["fd00:7fff::1", "fd00:8000::1", "::ffff:11.0.0.1"].map(from)).toEqual([17, 6, 6]);
  });

  it("is keyed by whatever the selector's function gives, which may also say that a packet is none", () => {
    const members = [{ long: 0x0102_0304_00, small: 5, ack: 0xf1f2_f3f4, window: 9 }];
    const vm = run(new MemberSet(policy("lengths"), { params: { window: u16 }, members }));
    expect(window(vm.run(makeFrame({ payload: 5 })).packet)).toBe(9);
    expect(window(vm.run(makeFrame({ payload: 4 })).packet)).toBe(1000);
    expect(window(vm.run(makeFrame({ payload: 5, tcp: { sequence: 0 } })).packet)).toBe(1000);
    expect(window(vm.run(makeFrame({ payload: 5, tcp: { flags: 0x02 } })).packet)).toBe(1000);
  });

  it("is keyed by what the selector learnt before", () => {
    const members = [{ token: 77, window: 9 }];
    const vm = run(new MemberSet(policy("peer"), { params: { window: u16 }, members }));
    expect(window(vm.run(makeFrame()).packet)).toBe(1000);
    vm.run(makeFrame({ tcp: { flags: 0x02, sequence: 77 } }));
    expect(window(vm.run(makeFrame()).packet)).toBe(9);
    vm.run(makeFrame({ tcp: { flags: 0x02, sequence: 78 } }));
    expect(window(vm.run(makeFrame()).packet)).toBe(1000);
  });

  it("may stand anywhere in an expression when no actor needs its members", () => {
    const set = new MemberSet("port", { constants: { side: "remote" }, members: [{ port: 5001 }, { port: 5003 }] });
    const vm = chain({ source, select: { not: set }, actors: ["count"] }).vm("tcx_ingress");
    for (const sourcePort of [5001, 5002, 5003]) vm.run(makeFrame({ tcp: { sourcePort } }));
    expect(vm.counters()).toMatchObject({ seen: 3, matched: [2], acted: [1] });
    expect(vm.state()["0.seen"][0].key.slice(68, 72)).toBe("8a13");
  });

  it("shares one map where it stands twice, and takes the branch that matched", () => {
    const set = new MemberSet("port", {
      params: { window: u16 },
      constants: { side: "remote" },
      members: [{ port: 5001, window: 3 }],
    });
    const both = {
      or: [{ and: [set, ["packet_type", { type: "data" }]] }, { and: [["packet_type", { type: "pure_ack" }], set] }],
    } as const;
    const tested = chain({ source, select: both, actors: [["fix", { window: set.param("window") }]] });
    expect(Object.keys(tested.compile("xdp").maps).filter((name) => name.startsWith("set_"))).toEqual(["set_port"]);
    const vm = tested.vm("xdp");
    expect([0, 10].map((payload) => window(vm.run(makeFrame({ payload })).packet))).toEqual([3, 3]);
    expect(window(vm.run(makeFrame({ tcp: { flags: 0x11 } })).packet)).toBe(1000);
  });

  it("takes members while it runs", () => {
    const set = new MemberSet("src", { name: "phones", params: { window: u16 } });
    const vm = run(set);
    expect(window(vm.run(makeFrame()).packet)).toBe(1000);
    vm.addMembers("phones", [{ prefix: "10.0.0.0/24", window: 5 }]);
    expect(window(vm.run(makeFrame()).packet)).toBe(5);
  });

  it("leaves the parameters of other actors where they are", () => {
    const set = new MemberSet("src", { params: { window: u16, spare: u32 } });
    const compiled = chain({
      source,
      select: set,
      actors: [
        ["fix", { window: set.param("window") }],
        ["fix", { window: 4 }],
      ],
    }).compile("xdp");
    expect(compiled.layout.parameters).toMatchObject([{ actor: 1, name: "window", offset: 0 }]);
    expect(compiled.layout.memberParameters).toEqual([{ actor: 0, name: "window", set: "src", field: "window" }]);
  });

  it("says that a packet would be several members", () => {
    const set = new MemberSet("port", { constants: { side: "either" } });
    expect(() => chain({ select: set, actors: ["record"] }).compile("xdp")).toThrow(/EM1061/);
  });

  it("says that it is not clear what a member is", () => {
    const set = new MemberSet(policy("unclear"));
    expect(() => chain({ source, select: set, actors: ["record"] }).compile("xdp")).toThrow(/EM1060/);
  });
});
