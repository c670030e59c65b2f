import { describe, expect, it } from "vitest";
import { outputs, writing } from "../testing/outputs.ts";
import { makeFrame } from "../testing/packets.ts";

const frame = makeFrame({
  options: [{ kind: "maximumSegmentSize", bytes: 1460 } as const, { kind: "windowScale", shift: 7 }],
});

function result(body: string, functions: string, inputs: object = {}): readonly bigint[] {
  return outputs(writing(body, functions), frame, inputs);
}

describe("policy functions", () => {
  it("give back values of the type they declare", () => {
    const add = "function add(x: u32, y: u32): u32 { const sum = x + y; return sum; }";
    expect(result("out.x = add(a, add(b, 5));", add, { a: 1, b: 2 })[0]).toBe(8n);
  });

  it("wrap in the type they declare, also when they are one expression", () => {
    const functions = "const twice = (x: u8): u8 => x * 2; function thrice(x: u8): u8 { return x * 3; }";
    expect(result("out.x = twice(u8(a)); out.y = thrice(u8(a));", functions, { a: 200 })).toEqual([144n, 88n, 0n]);
  });

  it("return early, from within loops too", () => {
    const find = `function find(limit: u32): u32 {
      if (limit === 0) return 100;
      for (let i = 0; i < 50; i++) { for (let j = 0; j < 50; j++) if (i * j > limit) return i; }
      return 200;
    }`;
    const vm = writing("for (let k = 0; k < 3; k++) out.x = find(a); out.y = 1;", find);
    expect([0, 10, 5000].map((a) => outputs(vm, frame, { a }))).toEqual([
      [100n, 1n, 0n],
      [1n, 1n, 0n],
      [200n, 1n, 0n],
    ]);
  });

  it("give back booleans, as conditions and as values", () => {
    const lies = "function lies(x: u32, low: u32): boolean { if (x < low) return false; return x < low + 10; }";
    const body = "if (lies(a, 5) && !lies(a, 10)) out.x = 1; const is = lies(a, b); out.y = is ? 1 : 2;";
    const vm = writing(body, lies);
    expect([4, 5, 9, 10].map((a) => outputs(vm, frame, { a, b: 10 }))).toEqual([
      [0n, 2n, 0n],
      [1n, 2n, 0n],
      [1n, 2n, 0n],
      [0n, 1n, 0n],
    ]);
  });

  it("do things and give back nothing", () => {
    const raise = "function raise(all: { x: number }, by: number): void { if (by === 0) return; all.x += by; }";
    expect(result("raise(out, a); raise(out, 0); raise(out, 2);", raise, { a: 3 })[0]).toBe(5n);
  });

  it("take views, destructured or not, and loop over options", () => {
    const functions = `function has({ tcp }: Packet, wanted: number): boolean {
      for (const option of tcp.options) if (option.kind === wanted) return true;
      return false;
    }
    function shift(option: TcpOption): u8 { return option.u8(2); }`;
    const body = `if (has(packet, kind.windowScale)) out.x = 1;
    if (has(packet, kind.sack)) out.y = 1;
    for (const option of packet.tcp.options) if (option.kind === kind.windowScale) out.z = shift(option);`;
    expect(result(body, functions)).toEqual([1n, 0n, 7n]);
  });

  it("fall back on the values that parameters have by default", () => {
    expect(result("out.x = f(1); out.y = f(1, 1);", "function f(n: u32, m = 41): u32 { return n + m; }")).toEqual([
      42n,
      2n,
      0n,
    ]);
  });

  it("come from other files, with constants and types", () => {
    const other = "export const LIMIT = 30; export function above(n: number): boolean { return n > LIMIT; }";
    const vm = writing("if (above(a)) out.x = LIMIT;", 'import { above, LIMIT } from "./other.ts";', other);
    expect([30, 31].map((a) => outputs(vm, frame, { a })[0])).toEqual([0n, 30n]);
  });
});

describe("constants of a file", () => {
  it("are numbers, computed ones, booleans, words and fields of objects", () => {
    const constants = `const sizes = { tiny: 3, nested: { deep: 9 } } as const; const BASE = 1 << 4; const SUM = BASE + sizes.tiny;
    const ON = true; const WORD = "two";`;
    const body = "out.x = SUM; if (ON && word === WORD) out.y = sizes.nested.deep; out.z = subtype.join + kind.mptcp;";
    expect(result(body, constants, { word: "two" })).toEqual([19n, 9n, 31n]);
  });
});

describe("min() and max()", () => {
  it("compute with constants alone, too", () => {
    expect(result("out.x = min(3, 5); out.y = max(3, 5); out.z = min(a, max(b, 7));", "", { a: 9, b: 2 })).toEqual([
      3n,
      5n,
      7n,
    ]);
  });
});

describe("now()", () => {
  it("is the clock in nanoseconds", () => {
    const vm = writing("out.x = now();");
    vm.clockNs = 123_456_789_012n;
    expect(outputs(vm, frame)[0]).toBe(123_456_789_012n);
  });
});
