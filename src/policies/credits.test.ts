import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { makeFrame } from "../compiler/testing/packets.ts";
import { chain, type VmRunner } from "../compiler/testing/policy-harness.ts";
import { policySource } from "../compiler/testing/policy-source.ts";
import { parsePacket, type TcpOption } from "../wire/index.ts";
import { grantExperiment } from "./credits.ts";

// grant_credits on ACKs that leave 10.0.0.1:80, audit_credits on ACKs that arrive there.

const text = (name: string): string =>
  readFileSync(new URL(`${name}.ts`, import.meta.url), "utf8").replace("../policy/index.ts", "emptcp/policy");

const ACK = 0x10;
const msNs = 1_000_000n;
const dss: TcpOption = { kind: "unknown", bytes: Uint8Array.of(30, 8, 0x20, 1, 0, 0, 0, 1) };
const timestamps: TcpOption = { kind: "timestamps", value: 1, echoReply: 2 };
const sack: TcpOption = { kind: "unknown", bytes: Uint8Array.of(5, 18, ...Array<number>(16).fill(1)) };

const leaving = (port: number, acknowledgment: number, parts: Parameters<typeof makeFrame>[0] = {}): Uint8Array =>
  makeFrame({
    source: "10.0.0.1",
    destination: "10.0.0.2",
    options: [timestamps, dss],
    ...parts,
    tcp: { sourcePort: 80, destinationPort: port, flags: ACK, acknowledgment, ...parts.tcp },
  });

/** The number a segment's grant names. */
function grantOf(frame: Uint8Array): number | undefined {
  for (const option of parsePacket(frame).tcp!.options) {
    if (option.kind !== "unknown" || option.bytes[0] !== 254) continue;
    const view = new DataView(option.bytes.buffer, option.bytes.byteOffset);
    if (view.getUint16(2) === grantExperiment) return view.getUint32(4);
  }
  return undefined;
}

/** A subflow that receives what it granted with its last ACK. */
class Receiver {
  readonly port: number;
  readonly #vm: VmRunner;
  acknowledged: number;
  upTo: number;
  granted = 0;

  constructor(vm: VmRunner, port: number, start = 1000) {
    this.#vm = vm;
    this.port = port;
    this.acknowledged = start;
    this.upTo = start;
  }

  /** Acknowledges at most so many bytes of what was granted. */
  acknowledge(most = Infinity): void {
    const bytes = Math.min(most, (this.upTo - this.acknowledged) >>> 0);
    this.acknowledged = (this.acknowledged + bytes) >>> 0;
    const upTo = grantOf(this.#vm.run(leaving(this.port, this.acknowledged)).packet)!;
    this.granted += (upTo - this.upTo) >>> 0;
    this.upTo = upTo;
  }
}

/** 40 Mbit/s. */
const bytesPerMs = 5000;
const granters = new Map<number, ReturnType<typeof chain>>();
function granting(burst = 0): VmRunner {
  const known = granters.get(burst) ?? chain({ actors: [["grant_credits", { rate: "40mbit", burst }]] });
  granters.set(burst, known);
  return known.vm("tcx_egress");
}
const receivers = (vm: VmRunner, count: number) => Array.from({ length: count }, (_, i) => new Receiver(vm, 5000 + i));
/** What one of `sharing` subflows may hold that uses nothing, with a round trip of so many ms: 100 where it is not known. */
const allowed = (tripMs: number, sharing: number) => (1.5 * tripMs * bytesPerMs * 16) / 17 / sharing + 2896;
const sum = (all: readonly Receiver[]) => all.reduce((total, { granted }) => total + granted, 0);

describe("grant_credits", () => {
  it.each([1, 7, 30])(
    "hands out what the rate gives but for headers, and no more: %i subflows",
    (count) => {
      const vm = granting(20_000);
      const all = receivers(vm, count);
      const ms = 120;
      for (let i = 0; i < ms; i++) {
        for (const one of all) one.acknowledge();
        vm.clockNs += msNs;
      }
      const payload = (bytesPerMs * 16) / 17;
      expect(sum(all)).toBeLessThanOrEqual(payload * ms + 20_000);
      expect(sum(all)).toBeGreaterThan(payload * ms * 0.9);
    },
    20_000,
  );

  it("keeps no more of an idle time than a burst", () => {
    const vm = granting(20_000);
    vm.clockNs += 60_000n * msNs;
    const all = receivers(vm, 50);
    for (let i = 0; i < 10; i++) for (const one of all) one.acknowledge();
    expect(sum(all)).toBeLessThanOrEqual(20_000);
    expect(sum(all)).toBeGreaterThan(15_000);
  });

  it("gives what some do not use to the others", () => {
    const vm = granting();
    const [user, ...idle] = receivers(vm, 10);
    for (let i = 0; i < 300; i++) {
      user.acknowledge();
      if (i === 199) user.granted = 0;
      for (const one of idle) one.acknowledge(0);
      vm.clockNs += msNs;
    }
    for (const one of idle) expect(one.granted).toBeLessThanOrEqual(allowed(100, 10));
    expect(user.granted).toBeGreaterThan(0.9 * 100 * bytesPerMs * (16 / 17));
  });

  it("gives what a path that died would have had to the others", () => {
    const vm = granting();
    const [alive, dead] = receivers(vm, 2);
    for (let i = 0; i < 1000; i++) {
      alive.acknowledge();
      if (i < 400) dead.acknowledge();
      if (i === 799) alive.granted = 0;
      vm.clockNs += msNs;
    }
    expect(alive.granted).toBeGreaterThan(0.95 * 200 * bytesPerMs * (16 / 17));
  });

  it("brings who comes later to an equal share", () => {
    const vm = granting();
    const [first, second] = receivers(vm, 2);
    for (let i = 0; i < 1500; i++) {
      first.acknowledge();
      if (i >= 400) second.acknowledge();
      if (i === 999) first.granted = second.granted = 0;
      vm.clockNs += msNs;
    }
    expect(first.granted / second.granted).toBeGreaterThan(0.8);
    expect(first.granted / second.granted).toBeLessThan(1.25);
  });

  it("lets hold what the rate fills in a round trip, as the handshake showed it", () => {
    const vm = chain({ actors: [["grant_credits", { rate: "40mbit" }]] }).vm("tcx_egress", "tcx_ingress");
    const options: TcpOption[] = [{ kind: "timestamps", value: 7, echoReply: 1 }];
    vm.run(leaving(5001, 0, { options, tcp: { flags: 0x02 } }), "tcx_egress");
    vm.clockNs += 20n * msNs;
    const echo: TcpOption[] = [{ kind: "timestamps", value: 9, echoReply: 7 }];
    vm.run(makeFrame({ options: echo, tcp: { flags: 0x12, sourcePort: 5001 } }), "tcx_ingress");
    const one = new Receiver(vm, 5001);
    for (let i = 0; i < 200; i++) {
      one.acknowledge(0);
      vm.clockNs += msNs;
    }
    expect(one.granted).toBeGreaterThan(0.99 * allowed(20, 1));
    expect(one.granted).toBeLessThanOrEqual(allowed(20, 1));
  });

  it("counts over the end of the sequence numbers", () => {
    const vm = granting();
    const one = new Receiver(vm, 5001, 0xffff_0000);
    for (let i = 0; i < 100; i++) {
      one.acknowledge();
      vm.clockNs += msNs;
    }
    expect(one.granted).toBeGreaterThan(300_000);
    expect(one.upTo).toBeLessThan(0x1000_0000);
  });

  it("says the same again while there is nothing to add", () => {
    const vm = granting();
    const [one] = receivers(vm, 1);
    for (let i = 0; i < 5; i++) one.acknowledge();
    const before = one.upTo;
    one.acknowledge();
    expect(one.upTo).toBe(before);
  });

  it("forgets the connection that had the same addresses and ports before", () => {
    const vm = granting();
    const [one] = receivers(vm, 1);
    one.acknowledge();
    vm.run(leaving(one.port, 0, { tcp: { flags: 0x02 } }));
    vm.clockNs += 10n * msNs;
    const again = new Receiver(vm, one.port, one.upTo - 1_000_000);
    again.acknowledge();
    expect(again.granted).toBeGreaterThan(10_000);
    expect(again.granted).toBeLessThanOrEqual(bytesPerMs * 10);
  });

  it("grants nothing where the option has no room: that is for what is sent again", () => {
    const vm = granting(20_000);
    const [one, other] = receivers(vm, 2);
    other.acknowledge();
    vm.clockNs += msNs;
    const full = leaving(one.port, 1000, { options: [timestamps, dss, sack] });
    expect(vm.run(full).packet).toEqual(full);
    expect(vm.counters().cannot).toEqual([{ no_room: 0, option_space: 1 }]);
    one.acknowledge();
    expect(one.granted).toBe(0);
    vm.clockNs += 10n * msNs;
    one.acknowledge();
    expect(one.granted).toBeGreaterThan(10_000);
    expect(one.granted).toBeLessThan(60_000);
  });

  it.each([
    ["SYN", { tcp: { flags: 0x12 } }],
    ["FIN", { tcp: { flags: 0x11 } }],
    ["RST", { tcp: { flags: 0x14 } }],
    ["data", { payload: 100 }],
  ])("leaves alone what is no pure ACK: %s", (_, parts) => {
    const frame = leaving(5001, 1000, parts);
    expect(granting().run(frame).packet).toEqual(frame);
  });
});

const grant = (upTo: number): TcpOption => ({
  kind: "unknown",
  bytes: Uint8Array.of(254, 8, grantExperiment >> 8, grantExperiment & 255, ...[24, 16, 8, 0].map((n) => upTo >>> n)),
});
const arriving = (acknowledgment: number, option: TcpOption): Uint8Array =>
  makeFrame({ options: [timestamps, option], tcp: { flags: ACK, acknowledgment } });

/** Makes a strategy of the subflow, as the stack does. */
const opening = `export const open = actor({ name: "open", direction: "ingress", state: { strategies: subflowStrategies },
  run(packet, _params, { strategies }) {
    if (packet.tcp.syn) strategies.getOrCreate(packet.flow);
  } });`;
const auditor = chain({
  source: policySource(`${text("audit_credits")}\n${opening}`, {
    "./credits.ts": text("credits"),
    "./strategies.ts": text("strategies"),
  }),
  actors: [["audit_credits", { most: 100_000 }], "open"],
});

function auditing() {
  const vm = auditor.vm("tcx_ingress");
  const arrive = (acknowledged: number, upTo: number) => vm.run(arriving(acknowledged, grant(upTo))).packet;
  const strategy = () => vm.state()["0.strategies"][0]?.fields;
  vm.run(makeFrame({ tcp: { flags: 0x02 } }));
  return { vm, arrive, strategy };
}

describe("audit_credits", () => {
  it("puts a grant to the subflow's credit, and takes it out of the segment", () => {
    const { arrive, strategy } = auditing();
    const packet = arrive(1000, 5000);
    expect(grantOf(packet)).toBeUndefined();
    expect(parsePacket(packet).tcp).not.toHaveProperty("checksum");
    expect(strategy()).toMatchObject({ kind: 3n, creditBytes: 5000n });
  });

  it("counts each grant once when ACKs are lost, come twice and overtake each other", () => {
    const { arrive, strategy } = auditing();
    const sent = Array.from({ length: 200 }, (_, i) => [1000 * i, 1000 * i + 700 * ((i % 7) + 2)] as const);
    let upTo = 0;
    const order = sent.flatMap((one, i) => (i % 5 === 0 ? [] : i % 3 === 0 ? [one, one] : [one]));
    for (let i = 0; i + 3 < order.length; i += 4) [order[i], order[i + 3]] = [order[i + 3], order[i]];
    for (const one of order) {
      arrive(...one);
      upTo = Math.max(upTo, one[1]);
      expect(strategy()["creditBytes"]).toBe(BigInt(upTo));
    }
  });

  it("counts over the end of the sequence numbers", () => {
    const { arrive, strategy } = auditing();
    arrive(0xffff_f000, 0xffff_ff00);
    arrive(0xffff_f800, 0x100);
    expect(strategy()["creditBytes"]).toBe(0x100n);
    arrive(0xffff_f000, 0xffff_ff00);
    expect(strategy()["creditBytes"]).toBe(0x100n);
  });

  it("believes no grant beyond what one may hold", () => {
    const { vm, arrive, strategy } = auditing();
    arrive(1000, 5000);
    for (const upTo of [1000 + 100_001, 0x8000_0000, 0xffff_ffff, 999, 0]) {
      expect(grantOf(arrive(1000, upTo))).toBeUndefined();
      expect(strategy()["creditBytes"]).toBe(5000n);
    }
    expect(vm.counters().cannot[0]["excessive"]).toBe(5);
  });

  it("forgets the credit of an older connection with the same addresses and ports", () => {
    const { arrive, strategy } = auditing();
    for (const start of [0, 0x9000_0000, 0x2000_0000]) {
      arrive(start, start + 50);
      expect(strategy()["creditBytes"]).toBe(BigInt(start + 50));
    }
  });

  it("leaves other strategies alone, and makes none", () => {
    const { vm, arrive, strategy } = auditing();
    vm.changeState(() => ({ kind: 4n }));
    expect(grantOf(arrive(1000, 6000))).toBeUndefined();
    expect(strategy()).toMatchObject({ kind: 4n, creditBytes: 0n });
    const other = makeFrame({ options: [grant(9)], tcp: { flags: ACK, acknowledgment: 1, sourcePort: 9 } });
    expect(grantOf(vm.run(other).packet)).toBeUndefined();
    expect(vm.state()["0.strategies"]).toHaveLength(1);
    expect(vm.counters().cannot[0]).toMatchObject({ other_strategy: 1, no_account: 1 });
  });

  it.each([
    ["of another experiment", [254, 8, 0xf9, 0x89, 0, 0, 0x10, 0]],
    ["of the other experimental kind", [253, 8, 0xec, 0xd7, 0, 0, 0x10, 0]],
    ["that is longer", [254, 10, 0xec, 0xd7, 0, 0, 0x10, 0, 0, 0]],
    ["that is shorter", [254, 4, 0xec, 0xd7]],
    ["of MPTCP", [30, 8, 0x20, 1, 0, 0, 0, 1]],
  ])("leaves alone an option %s", (_, bytes) => {
    const { vm, strategy } = auditing();
    const frame = arriving(1000, { kind: "unknown", bytes: Uint8Array.from(bytes) });
    expect(vm.run(frame).packet).toEqual(frame);
    expect(strategy()).toMatchObject({ creditBytes: 0n });
  });
});
