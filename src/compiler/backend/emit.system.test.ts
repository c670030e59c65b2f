import { afterAll, describe, expect, it } from "vitest";
import { disassemble } from "../../bpf/disassemble.ts";
import type { MapSpec, ProgramSpec } from "../../bpf/spec.ts";
import { createMap } from "../../linux/maps.ts";
import { loadProgram, testRun } from "../../linux/programs.ts";
import { interpret } from "../ir/interpret.ts";
import type { IrFunction } from "../ir/ir.ts";
import { print } from "../ir/print.ts";
import { emit } from "./emit.ts";
import { optimise } from "./optimise/index.ts";
import { generate, MAP, MAP_BYTES, type Shape } from "./testing/generate.ts";
import { FlatMemory } from "./testing/memory.ts";

const key = new Uint8Array(4);
const map: MapSpec = { name: "backend_test", type: "array", keySize: 4, valueSize: MAP_BYTES, maxEntries: 1 };
const shapes: Record<string, Shape> = {
  "a few variables": { variables: 4, statements: 14, calls: false, maxTrips: 3 },
  "more than 20 live variables": { variables: 20, statements: 14, calls: false, maxTrips: 3 },
};
const FUNCTIONS = 150;

describe("emit()", () => {
  const values = createMap(map);
  afterAll(() => values.close());

  function run(fn: IrFunction, seed: number): void {
    const instructions = emit(fn);
    const spec: ProgramSpec = {
      name: "backend_test",
      type: "schedCls",
      license: "GPL",
      instructions,
      maps: { [MAP]: map },
    };
    const program = loadProgram(spec, { [MAP]: values });
    try {
      const memory = new FlatMemory(seed);
      values.update(key, memory.map);
      const { returnValue, data } = testRun(program, { data: memory.packet });
      const want = BigInt.asUintN(32, interpret(fn, memory));
      const context = `seed ${seed}\n${print(fn)}\n${disassemble(instructions)}`;
      expect(BigInt(returnValue >>> 0), context).toBe(want);
      expect(Buffer.from(data), context).toEqual(Buffer.from(memory.packet));
      expect(Buffer.from(values.lookup(key)!), context).toEqual(Buffer.from(memory.map));
    } finally {
      program.close();
    }
  }

  for (const [name, shape] of Object.entries(shapes)) {
    it(`makes programs that the kernel accepts and runs as the IR says, with ${name}`, () => {
      for (let seed = 0; seed < FUNCTIONS; seed++) run(generate(seed, shape), seed);
    });

    it(`makes such programs from optimised functions, with ${name}`, () => {
      for (let seed = FUNCTIONS; seed < 2 * FUNCTIONS; seed++) {
        const fn = generate(seed, shape);
        optimise(fn);
        run(fn, seed);
      }
    });
  }

  it("keeps what calls must not change", () => {
    for (let seed = 0; seed < FUNCTIONS; seed++) {
      const fn = generate(seed, { variables: 8, statements: 14, calls: true, maxTrips: 3 });
      optimise(fn);
      loadProgram(
        { name: "backend_test", type: "schedCls", license: "GPL", instructions: emit(fn), maps: { [MAP]: map } },
        { [MAP]: values },
      ).close();
    }
  });
});
