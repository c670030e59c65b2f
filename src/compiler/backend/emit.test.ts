import { describe, expect, it } from "vitest";
import { disassemble } from "../../bpf/disassemble.ts";
import { Vm } from "../../bpf/vm/index.ts";
import type { ProgramSpec } from "../../bpf/spec.ts";
import { interpret } from "../ir/interpret.ts";
import { Builder } from "../ir/builder.ts";
import { int64, pointer, type IrFunction } from "../ir/ir.ts";
import { print } from "../ir/print.ts";
import { verify } from "../ir/verify.ts";
import { optimise } from "./optimise/index.ts";
import { ProgramTooLargeError, StackTooLargeError } from "./errors.ts";
import { emit } from "./emit.ts";
import { generate, MAP, MAP_BYTES, type Shape } from "./testing/generate.ts";
import { FlatMemory } from "./testing/memory.ts";

const key = new Uint8Array(4);
const INPUTS = 3;
const TIMEOUT_MS = 60_000;
const shapes: Record<string, Shape> = {
  "a few variables": { variables: 4, statements: 12, calls: true, maxTrips: 4 },
  "more variables than registers": { variables: 14, statements: 20, calls: true, maxTrips: 3 },
  "more than 30 live variables": { variables: 29, statements: 25, calls: true, maxTrips: 3 },
};

function sameBehaviour(fn: IrFunction, seed: number): void {
  const maps = { [MAP]: { name: MAP, type: "array", keySize: 4, valueSize: MAP_BYTES, maxEntries: 1 } } as const;
  const spec: ProgramSpec = { name: "random", type: "schedCls", license: "GPL", instructions: emit(fn), maps };
  const vm = new Vm(spec, { now: () => 0n });
  const map = vm.maps.get(MAP)!;
  for (let input = 0; input < INPUTS; input++) {
    const expected = new FlatMemory(seed + input);
    map.update(key, expected.map);
    const { returnValue, packet } = vm.runPacket(expected.packet);
    const want = interpret(fn, expected);
    const context = `seed ${seed}, input ${input}\n${print(fn)}`;
    expect(BigInt(returnValue), context).toBe(BigInt.asUintN(32, want));
    expect(packet, context).toEqual(expected.packet);
    expect(map.lookup(key), context).toEqual(expected.map);
  }
}

describe("emit()", () => {
  for (const [name, shape] of Object.entries(shapes)) {
    it(
      `computes what the IR says with ${name}`,
      () => {
        for (let seed = 0; seed < 100; seed++) {
          const fn = generate(seed, shape);
          verify(fn);
          sameBehaviour(fn, seed);
        }
      },
      TIMEOUT_MS,
    );
  }
});

describe("optimise()", () => {
  it(
    "leaves every function well formed",
    () => {
      for (let seed = 0; seed < 1200; seed++) {
        const fn = generate(seed, { variables: 2, statements: 6 + (seed % 12), calls: true, maxTrips: 2 });
        optimise(fn);
        expect(() => verify(fn), `seed ${seed}`).not.toThrow();
      }
    },
    TIMEOUT_MS,
  );

  for (const [name, shape] of Object.entries(shapes)) {
    it(
      `keeps what a function computes with ${name}`,
      () => {
        for (let seed = 1000; seed < 1125; seed++) {
          const fn = generate(seed, shape);
          const results = Array.from({ length: INPUTS }, (_, input) => {
            const memory = new FlatMemory(seed + input);
            return { result: interpret(fn, memory), packet: memory.packet, map: memory.map };
          });
          const before = print(fn);
          optimise(fn);
          verify(fn);
          results.forEach((want, input) => {
            const memory = new FlatMemory(seed + input);
            const context = `seed ${seed}, input ${input}\n${before}\n${print(fn)}`;
            expect(interpret(fn, memory), context).toBe(want.result);
            expect(memory.packet, context).toEqual(want.packet);
            expect(memory.map, context).toEqual(want.map);
          });
          sameBehaviour(fn, seed);
        }
      },
      TIMEOUT_MS,
    );
  }
});

/** The listing of what `build` becomes, without optimisation. */
function listing(build: (b: Builder) => void): string[] {
  const b = new Builder("test");
  build(b);
  verify(b.function);
  return disassemble(emit(b.function))
    .split("\n")
    .map((line) => line.replace(/^\s*\d+: /, ""));
}

const sumWith = (constant: bigint): string[] =>
  listing((b) => b.return(b.truncate(b.binary("add", b.call(5, [], int64, "none"), b.const(constant, 64)))));

describe("emit() on single constructs", () => {
  it("checks packet bounds in the form the verifier learns from, success falling through", () => {
    const lines = listing((b) => {
      const context = b.context();
      const data = b.load(4, context, 0, pointer("packet"));
      const end = b.load(4, context, 4, pointer("packetEnd"));
      const ok = b.block();
      const fail = b.block();
      b.check(data, end, 14, ok, fail);
      b.seal(ok);
      b.seal(fail);
      b.enter(fail);
      b.return(b.const(2));
      b.enter(ok);
      b.return(b.load(2, data, 12));
    });
    const check = lines.findIndex((line) => line.endsWith("+= 14"));
    expect(lines[check + 1]).toMatch(/^if r\d > r\d goto/);
    expect(lines[check + 2]).toMatch(/= \*\(u16 \*\)\(r\d \+12\)$/);
  });

  it("keeps constants that do not fit an instruction in a wide load, and the others in the instruction", () => {
    expect(sumWith(0x7fff_ffffn).join("\n")).not.toMatch(/ ll/);
    expect(sumWith(0xffff_ffff_ffff_fff0n)).toContain("r0 += -16");
    expect(sumWith(0x8000_0000n).join("\n")).not.toMatch(/\+= -/);
  });

  it("keeps a value that a call would destroy in a register that survives it", () => {
    const lines = listing((b) => {
      const before = b.call(5, [], int64, "none");
      const after = b.call(5, [], int64, "none");
      b.return(b.truncate(b.binary("sub", after, before)));
    });
    expect(lines).toContain("r6 = r0");
  });

  it("needs no instruction to widen a 32-bit value, nor to narrow one whose upper half nobody reads", () => {
    const lines = listing((b) => {
      const wide = b.call(5, [], int64, "none");
      const low = b.binary("add", b.truncate(wide), b.const(1));
      b.return(b.truncate(b.binary("lshr", b.zeroExtend(low), b.const(4, 64))));
    });
    expect(lines.filter((line) => line !== "")).toEqual([
      "call ktime_get_ns#5",
      "w0 += 1",
      "r0 >>= 4",
      "w0 = w0",
      "exit",
    ]);
  });

  it("says how much stack a function needs when that is too much", () => {
    const b = new Builder("greedy");
    const first = b.stack(300);
    const second = b.stack(300);
    b.store(8, first, 0, b.const(1, 64));
    b.store(8, second, 0, b.const(1, 64));
    b.return(b.const(0));
    expect(() => emit(b.function)).toThrow(StackTooLargeError);
    expect(() => emit(b.function)).toThrow(/608 bytes/);
  });

  it("refuses a jump that is too far", () => {
    const b = new Builder("long");
    const [then, join] = [b.block(), b.block()];
    b.branch("eq", b.call(5, [], int64, "none"), b.const(1, 64), then, join);
    b.seal(then);
    b.enter(then);
    for (let i = 0; i < 40_000; i++) b.store(8, b.mapValue("values", 0), 0, b.const(i, 64));
    b.jump(join);
    b.seal(join);
    b.enter(join);
    b.return(b.const(0));
    expect(() => emit(b.function)).toThrow(ProgramTooLargeError);
  });
});
