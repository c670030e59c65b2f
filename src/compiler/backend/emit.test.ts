import { describe, expect, it } from "vitest";
import { Vm } from "../../bpf/vm/index.ts";
import type { ProgramSpec } from "../../bpf/spec.ts";
import { interpret } from "../ir/interpret.ts";
import type { IrFunction } from "../ir/ir.ts";
import { print } from "../ir/print.ts";
import { verify } from "../ir/verify.ts";
import { optimise } from "./optimise/index.ts";
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
        for (let seed = 0; seed < 300; seed++) {
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
  for (const [name, shape] of Object.entries(shapes)) {
    it(
      `keeps what a function computes with ${name}`,
      () => {
        for (let seed = 1000; seed < 1300; seed++) {
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
