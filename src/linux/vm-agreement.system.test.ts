import { afterAll, describe, expect, it } from "vitest";
import { disassemble } from "../bpf/disassemble.ts";
import { randomMemory, randomProgram, randomProgramMap } from "../bpf/testing/random-program.ts";
import { createMap as createVmMap, Vm } from "../bpf/vm/index.ts";
import { createMap } from "./maps.ts";
import { loadProgram, testRun } from "./programs.ts";

const key = new Uint8Array(4);
const frame = new Uint8Array(64);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("Vm and kernel", () => {
  const map = createMap(randomProgramMap);
  const vmMap = createVmMap(randomProgramMap);
  afterAll(() => map.close());

  it("agree on registers and memory after 5000 random programs", () => {
    const outcomes = { vm: "", kernel: "" };
    for (let seed = 0; seed < 5000; seed++) {
      const spec = randomProgram(seed);
      const memory = randomMemory(seed);
      vmMap.update(key, memory);
      const vm = new Vm(spec, { maps: new Map([["memory", vmMap]]) });
      const { returnValue } = vm.runPacket(frame);
      outcomes.vm = `${returnValue} ${hex(vmMap.lookup(key)!)}`;

      map.update(key, memory);
      const program = loadProgram(spec, { memory: map });
      try {
        outcomes.kernel = `${testRun(program, { data: frame }).returnValue} ${hex(map.lookup(key)!)}`;
      } finally {
        program.close();
      }
      if (outcomes.vm === outcomes.kernel) continue;
      expect(outcomes.vm, `seed ${seed}\n${disassemble(spec.instructions)}`).toBe(outcomes.kernel);
    }
    expect(outcomes.vm).toBe(outcomes.kernel);
  });
});
