import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { makeFrame } from "../../compiler/testing/packets.ts";
import { parseIpPrefix, readCapture, TcpFlag, toFrame } from "../../wire/index.ts";
import { ActorChain, SelectorChain } from "../compose.ts";
import { PolicyChain } from "../policy-chain.ts";
import { explain, Explainer } from "./explain.ts";
import { bounce, echo, everySecond, ports, tell } from "./testing/policies.ts";
import type { ExplainedPacket, PacketToExplain } from "./explanation.ts";

const addAddr = {
  kind: "addAddr",
  version: 1,
  echo: false,
  addressId: 2,
  address: Uint8Array.of(10, 0, 0, 7),
  hmac: 1n,
} as const;
const joined = new SelectorChain().select("dst", { prefix: "10.0.0.0/8" }).exclude("packet_type", { type: "rst" });
const blocked = new PolicyChain(joined, new ActorChain().add("blk_subflow").add("record"));

const stamp = (value: number, echoReply: number) => ({ kind: "timestamps", value, echoReply }) as const;
const guessed = (direction: string) => ({ direction, source: "guessed" });
/** What the other side sends in the connection of `makeFrame`. */
const back = (flags: number) => ({
  frame: makeFrame({
    source: "10.0.0.1",
    destination: "10.0.0.2",
    tcp: { sourcePort: 80, destinationPort: 5001, flags },
  }),
});

const incoming = (parts: Parameters<typeof makeFrame>[0]): PacketToExplain => ({
  frame: makeFrame(parts),
  direction: "ingress",
});

function only(chain: PolicyChain, packet: PacketToExplain): ExplainedPacket {
  const [one] = [...explain(chain, [packet])];
  if (one?.kind !== "explained") throw new Error(`The packet was not explained: ${one?.reason}`);
  return one;
}

describe("explain()", () => {
  test("explain() says which selectors matched, what each actor did and how the packet changed", () => {
    const one = only(blocked, incoming({ options: [addAddr], payload: 5 }));
    expect(one).toMatchObject({
      matched: true,
      hook: "tcx_ingress",
      direction: { direction: "ingress", source: "capture" },
      selectors: [
        { name: "dst", params: { prefix: "10.0.0.0/8" }, answer: "matched" },
        { name: "packet_type", params: { type: "rst" }, answer: "not matched" },
      ],
      actors: [
        { name: "blk_subflow", did: "acted", changes: [{ field: "option ADD_ADDR" }] },
        { name: "record", did: "acted", changes: [] },
      ],
      verdict: "pass",
      changes: [{ field: "option ADD_ADDR", before: "ADD_ADDR version=1 addressId=2 10.0.0.7 hmac=0x1" }],
    });
    expect(one.state.filter(({ state }) => state === "flows")).toMatchObject([
      { state: "flows", key: "10.0.0.1 port 80 to 10.0.0.2 port 5001", after: { packetsIn: 1 } },
    ]);
  });

  test("explain() says drop when the chain drops", () => {
    expect(only(blocked, incoming({ options: [addAddr] })).verdict).toBe("drop");
  });

  test("explain() says which of several actors changed what", () => {
    const actors = new ActorChain().add("record").add("drop").add("blk_subflow").add(echo);
    const chain = new PolicyChain(new SelectorChain(), actors, { direction: "ingress" });
    const one = only(chain, incoming({ options: [addAddr], payload: 1 }));
    expect(one.actors.map(({ name, changes, verdict }) => [name, changes.map(({ field }) => field), verdict])).toEqual([
      ["record", [], undefined],
      ["drop", [], "drop"],
      ["blk_subflow", ["option ADD_ADDR"], undefined],
      // Nothing goes along with a packet that is dropped.
      ["echo", [], undefined],
    ]);
  });

  test("explain() says of selectors and actors that were not reached that they were not asked", () => {
    const one = only(blocked, incoming({ destination: "192.0.2.1", options: [addAddr] }));
    expect(one).toMatchObject({ matched: false, changes: [], state: [] });
    expect(one.selectors.map(({ answer }) => answer)).toEqual(["not matched", "not asked"]);
    expect(one.actors.map(({ did }) => did)).toEqual(["not asked", "not asked"]);
  });

  test("explain() gives the reason why an actor could not act", () => {
    const limit = new PolicyChain(new SelectorChain(), new ActorChain().add("rate_limit", { rate: "1mbit" }));
    expect(only(limit, incoming({})).actors).toEqual([
      { name: "rate_limit", did: "could not", reasons: ["unknown_scale"], changes: [] },
    ]);
  });

  test("explain() remembers what earlier packets left, and its clock follows the capture's", () => {
    const rtt = new PolicyChain(new SelectorChain(), new ActorChain().add("record"));
    const sent = makeFrame({ options: [stamp(7, 0)], payload: 9 });
    const answered = makeFrame({
      source: "10.0.0.1",
      destination: "10.0.0.2",
      tcp: { sourcePort: 80, destinationPort: 5001 },
      options: [stamp(1, 7)],
    });
    const explained = [
      ...explain(rtt, [
        { frame: sent, direction: "egress", timestampNs: 1_700_000_000_000_000_000n },
        { frame: answered, direction: "ingress", timestampNs: 1_700_000_000_030_000_000n },
      ]),
    ] as ExplainedPacket[];
    expect(explained[1].state).toMatchObject([{ before: { rttUs: 0 }, after: { rttUs: 30_000 } }]);
  });

  test("explain() skips what a chain is not shown, and says why", () => {
    const egress = { ...incoming({}), direction: "egress" as const };
    const ingressOnly = new PolicyChain(new SelectorChain(), new ActorChain().add("blk_subflow"));
    const skipped = [...explain(ingressOnly, [egress, { frame: new Uint8Array(60) }, { frame: new Uint8Array(3) }])];
    expect(skipped).toMatchObject([
      { kind: "skipped", reason: "the chain does not run on egress" },
      { kind: "skipped", reason: "not TCP, or a fragment" },
      { kind: "skipped", reason: expect.stringMatching(/^broken: .*the frame ends/) },
    ]);
  });

  test("explain() takes what a capture cut off for zeros", () => {
    const frame = makeFrame({ payload: 500 });
    const cut = { frame: frame.subarray(0, 100), originalLength: frame.length, direction: "ingress" as const };
    expect(only(blocked, cut)).toMatchObject({ cut: true, matched: true, packet: { payloadBytes: 500 } });
  });

  test("explain() runs on XDP what is meant for XDP", () => {
    const xdp = new PolicyChain(new SelectorChain(), new ActorChain().add("blk_subflow"), { hook: "xdp" });
    expect(only(xdp, incoming({ options: [addAddr] }))).toMatchObject({ hook: "xdp", verdict: "drop" });
  });
});

const chainOf = (actors: ActorChain, selectors = new SelectorChain()) =>
  new PolicyChain(selectors, actors, { direction: "ingress" });

describe("explain() tells of", () => {
  const prio = { field: "option MP_PRIO", after: "MP_PRIO backup addressId=7" };

  test("other interfaces by the names that the chain gives them, whether this machine has them or not", () => {
    const redirected = only(chainOf(new ActorChain().add("redirect", { interface: "wwan77" })), incoming({}));
    expect(redirected).toMatchObject({ verdict: "redirect", redirectedTo: "wwan77", copies: [] });
    const mirrored = only(chainOf(new ActorChain().add("mirror", { interface: "wwan77" })), incoming({}));
    expect(mirrored).toMatchObject({ verdict: "pass", copies: [{ interface: "wwan77", changes: [] }] });
  });

  test("a packet that goes back to its sender instead", () => {
    const one = only(chainOf(new ActorChain().add(bounce)), incoming({ options: [stamp(1, 2)] }));
    expect(one.verdict).toBe("answer");
    expect(one.changes).toEqual(
      expect.arrayContaining([{ field: "ip.source", before: "10.0.0.2", after: "10.0.0.1" }, prio]),
    );
  });

  test("a copy that goes ahead of the packet", () => {
    const one = only(chainOf(new ActorChain().add(echo)), incoming({ options: [stamp(1, 2)] }));
    expect(one).toMatchObject({ verdict: "pass", changes: [] });
    expect(one.copies).toEqual([{ changes: expect.arrayContaining([prio]) }]);
  });

  test("events, by the policy that emitted them", () => {
    const one = only(chainOf(new ActorChain().add(tell)), incoming({ tcp: { flags: TcpFlag.syn } }));
    expect(one.events).toEqual([{ policy: "tell", name: "opened", fields: { port: 80, window: 1000n } }]);
  });

  test("state by the policies that keep it, selectors too", () => {
    const chain = chainOf(new ActorChain().add("record"), new SelectorChain().select(everySecond));
    const explained = [...explain(chain, [incoming({}), incoming({})])] as ExplainedPacket[];
    expect(explained.map(({ matched }) => matched)).toEqual([false, true]);
    expect(explained[1].state.map(({ policies, state }) => [policies, state])).toEqual([
      [["every_second"], "count"],
      [["record"], "flows"],
    ]);
  });

  test("records that come, change and go, by their keys", () => {
    const flags = [TcpFlag.syn, TcpFlag.ack, TcpFlag.fin, TcpFlag.fin];
    const packets = flags.map((one) => incoming({ tcp: { flags: one } }));
    const explained = [...explain(chainOf(new ActorChain().add(ports)), packets)] as ExplainedPacket[];
    const record = { policies: ["ports"], state: "open", key: "80" };
    expect(explained.map(({ state }) => state)).toEqual([
      [{ ...record, after: { packets: 1 } }],
      [{ ...record, before: { packets: 1 }, after: { packets: 2 } }],
      [{ ...record, before: { packets: 2 } }],
      [],
    ]);
  });

  test("a linked chain what it tells of the same chain fused", () => {
    const packets = [
      incoming({ options: [addAddr] }),
      incoming({ destination: "192.0.2.1" }),
      incoming({ payload: 9 }),
    ];
    const linked = blocked.with({ mode: "linked" });
    expect([...explain(linked, packets)]).toEqual([...explain(blocked, packets)]);
  });
});

test("explain() starts with the state and the parameters that it is given, and with the clock that they go by", () => {
  const meter = new PolicyChain(new SelectorChain(), new ActorChain().add("record"));
  const packet = { ...incoming({}), timestampNs: 5_000n };
  const before = new Explainer(meter, { clockZeroNs: 1_000n });
  before.explain(packet);
  const { map } = before.plan.compiled.layout.state[0];
  const contents = new Map([[map, [...before.contents(map)]]]);
  const one = new Explainer(meter, { contents }).explain(packet);
  expect(one).toMatchObject({ state: [{ before: { packetsIn: 1 }, after: { packetsIn: 2 } }] });
});

describe("the direction of packets", () => {
  const there = { frame: makeFrame({ tcp: { flags: TcpFlag.syn } }) };
  const both = new PolicyChain(new SelectorChain(), new ActorChain().add("record"));
  const directions = (packets: readonly PacketToExplain[], local?: string) =>
    [...explain(both, packets, local === undefined ? {} : { local: [parseIpPrefix(local)] })].map(
      (one) => one.direction,
    );

  test("is guessed from who opened the connection", () => {
    const answer = back(TcpFlag.syn | TcpFlag.ack);
    expect(directions([there, answer])).toEqual([guessed("egress"), guessed("ingress")]);
    expect(directions([answer, { frame: makeFrame() }])).toEqual([guessed("ingress"), guessed("egress")]);
  });

  test("is what the capture says, unless the host's addresses are given", () => {
    const captured = { ...there, direction: "ingress" as const };
    expect(directions([captured])).toEqual([{ direction: "ingress", source: "capture" }]);
    expect(directions([captured, back(TcpFlag.ack)], "10.0.0.0/31")).toEqual([
      { direction: "ingress", source: "local" },
      { direction: "egress", source: "local" },
    ]);
  });
});

test("explain() shows a captured connection: each packet is explained, and blk_subflow drops the one ADD_ADDR", () => {
  const file = readFileSync(new URL("../../wire/vectors/ipv4.pcapng", import.meta.url));
  const capture = readCapture(file);
  const explainer = new Explainer(blocked);
  const explained = capture.packets.map((packet) => {
    const { timestampNs } = packet;
    return explainer.explain({ ...toFrame(packet, capture), ...(timestampNs !== undefined && { timestampNs }) });
  });
  expect(explained.map(({ kind }) => kind)).toEqual(explained.map(() => "explained"));
  const dropped = explained.filter((one) => one.kind === "explained" && one.verdict === "drop");
  expect(dropped).toMatchObject([{ actors: [{ name: "blk_subflow", verdict: "drop" }, { name: "record" }] }]);
});
