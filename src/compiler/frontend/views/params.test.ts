import { describe, expect, it } from "vitest";
import { integerSizes, type IntegerName } from "../../../policy/types.ts";
import { chain } from "../../testing/policy-harness.ts";
import { policySource } from "../../testing/policy-source.ts";
import { importEverything } from "../../testing/refusals.ts";
import { makeFrame, type PacketParts } from "../../testing/packets.ts";

const types = Object.keys(integerSizes) as IntegerName[];
const limits = (type: IntegerName): readonly [bigint, bigint] => {
  const bits = BigInt(8 * integerSizes[type]);
  return type.startsWith("i") ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n];
};

describe("parameters of an actor", () => {
  it.each(types)("of type %s hold its smallest and its largest value, and change while the chain runs", (type) => {
    const wide = type.startsWith("i") ? "i64" : "u64";
    const source = policySource(`${importEverything}
export const test = actor({ name: "test", params: { value: ${type} }, state: { out: shared({ x: ${wide} }) },
  run(_, { value }, { out }) { out.x = value; } });`);
    const vm = chain({ source, actors: [["test", { value: 0 }]] }).vm();
    for (const value of [...limits(type), 1n]) {
      vm.set(0, { value });
      vm.run(makeFrame());
      expect(vm.state()["0.out"][0].fields["x"]).toBe(value);
    }
  });

  it("are each actor's own", () => {
    const source = policySource(`${importEverything}
export const test = actor({ name: "test", params: { value: u32 }, state: { out: shared({ x: u64 }) },
  run(_, { value }, { out }) { out.x = value; } });`);
    const vm = chain({
      source,
      actors: [
        ["test", { value: 1 }],
        ["test", { value: 2 }],
      ],
    }).vm();
    vm.run(makeFrame());
    expect(["0.out", "1.out"].map((name) => vm.state()[name][0].fields["x"])).toEqual([1n, 2n]);
  });
});

/** Whether a selector with this condition matches packets made of parts. */
const selecting = (params: string, condition: string, inputs: Record<string, string | number | bigint | boolean>) => {
  const source = policySource(`${importEverything}
export const test = selector({ name: "test", params: { ${params} }, run(packet, params) { return ${condition}; } });`);
  const vm = chain({ source, select: ["test", inputs] }).vm();
  return (parts: PacketParts): boolean => {
    const before = vm.counters().matched[0];
    vm.run(makeFrame(parts));
    return vm.counters().matched[0] > before;
  };
};

describe("parameters of a selector", () => {
  it("are integers, booleans and words", () => {
    const condition =
      'params.on && (params.word === "window" ? packet.tcp.window === params.value : packet.tcp.sourcePort === params.value)';
    const params = 'on: bool, word: choice("window", "port"), value: u16';
    const byWindow = selecting(params, condition, { on: true, word: "window", value: 7 });
    expect([7, 8].map((window) => byWindow({ tcp: { window } }))).toEqual([true, false]);
    expect(selecting(params, condition, { on: true, word: "port", value: 7 })({ tcp: { sourcePort: 7 } })).toBe(true);
    expect(selecting(params, condition, { on: false, word: "port", value: 7 })({ tcp: { sourcePort: 7 } })).toBe(false);
  });

  it.each([
    ["10.0.0.2", "10.0.0.2", true],
    ["10.0.0.2", "10.0.0.3", false],
    ["::ffff:10.0.0.2", "10.0.0.2", false],
    ["fd00::2", "fd00::2", true],
    ["fd00::2", "fd00::1:2", false],
    ["10.0.0.2", "fd00::2", false],
  ])("are addresses: %s for packets from %s", (host, from, matches) => {
    const select = selecting("host: address", "sameAddress(packet.ip.source, params.host)", { host });
    expect(select({ source: from, destination: from.includes(":") ? "fd00::9" : "10.0.0.9" })).toBe(matches);
  });

  it.each([
    ["10.0.0.0/8", "10.255.0.1", true],
    ["10.0.0.0/8", "11.0.0.1", false],
    ["10.0.0.0/31", "10.0.0.1", true],
    ["10.0.0.0/31", "10.0.0.2", false],
    ["0.0.0.0/0", "1.2.3.4", true],
    ["0.0.0.0/0", "::1", false],
    ["10.9.8.7/32", "10.9.8.7", true],
    ["fc00::/7", "fdff::1", true],
    ["fd00::/8", "fcff::1", false],
    ["fd00::/65", "fd00::7fff:0:0:1", true],
    ["fd00::/65", "fd00::8000:0:0:1", false],
    ["fd00::1/128", "fd00::1", true],
    ["::/0", "fd00::1", true],
    ["::/0", "10.0.0.1", false],
  ])("are prefixes: %s for packets from %s", (net, from, matches) => {
    const select = selecting("net: prefix", "inPrefix(packet.ip.source, params.net)", { net });
    expect(select({ source: from, destination: from.includes(":") ? "fd00::9" : "10.0.0.9" })).toBe(matches);
  });
});
