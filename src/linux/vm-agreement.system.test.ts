import { afterAll, describe, expect, it } from "vitest";
import { disassemble } from "../bpf/disassemble.ts";
import type { ProgramSpec } from "../bpf/spec.ts";
import { randomCallMaps, randomCalls } from "../bpf/testing/random-calls.ts";
import { Random, randomMemory, randomProgram, randomProgramMap } from "../bpf/testing/random-program.ts";
import { createMap as createVmMap, Vm, type VmMap } from "../bpf/vm/index.ts";
import { createMap, type KernelMap } from "./maps.ts";
import { loadProgram, testRun } from "./programs.ts";

/** Ethernet types with the shortest frame of each; an skb's test run on newer kernels wants the whole IP header. */
const frameKinds: Readonly<Record<"schedCls" | "xdp", readonly (readonly [number, number])[]>> = {
  schedCls: [
    [0x0800, 34],
    [0x86dd, 54],
    [0x8100, 14],
    [40, 14],
  ],
  xdp: [
    [0x0800, 14],
    [40, 14],
  ],
};
const key = new Uint8Array(4);
const hex = (bytes: Uint8Array | undefined) => (bytes ? Buffer.from(bytes).toString("hex") : "none");

/** Verdict, packet and the first entry of each map, after a run in the VM and after one in the kernel. */
function runBoth(
  spec: ProgramSpec,
  frame: Uint8Array,
  vmMaps: ReadonlyMap<string, VmMap>,
  kernelMaps: Readonly<Record<string, KernelMap>>,
): { vm: readonly string[]; kernel: readonly string[] } {
  const inVm = new Vm(spec, { maps: vmMaps }).runPacket(frame);
  const names = Object.keys(spec.maps);
  const packet = hex(inVm.metadata) + hex(inVm.packet);
  const vm = [`${inVm.returnValue}`, packet, ...names.map((name) => hex(vmMaps.get(name)?.lookup(key)))];
  const program = loadProgram(spec, kernelMaps);
  try {
    const { returnValue, data } = testRun(program, { data: frame });
    return { vm, kernel: [`${returnValue}`, hex(data), ...names.map((name) => hex(kernelMaps[name].lookup(key)))] };
  } finally {
    program.close();
  }
}

describe("Vm and kernel agree", () => {
  const opened: KernelMap[] = [];
  afterAll(() => {
    for (const map of opened) map.close();
  });
  function maps(specs: ProgramSpec["maps"]): [ReadonlyMap<string, VmMap>, Readonly<Record<string, KernelMap>>] {
    const kernel = Object.fromEntries(Object.entries(specs).map(([name, spec]) => [name, createMap(spec)]));
    opened.push(...Object.values(kernel));
    return [new Map(Object.entries(specs).map(([name, spec]) => [name, createVmMap(spec)])), kernel];
  }

  it("on registers and memory after 5000 random programs", () => {
    const [vmMaps, kernelMaps] = maps({ memory: randomProgramMap });
    let agreed = 0;
    for (let seed = 0; seed < 5000; seed++) {
      const memory = randomMemory(seed);
      vmMaps.get("memory")!.update(key, memory);
      kernelMaps["memory"].update(key, memory);
      const spec = randomProgram(seed);
      const { vm, kernel } = runBoth(spec, new Uint8Array(64), vmMaps, kernelMaps);
      if (vm.join() === kernel.join()) agreed++;
      else expect(vm, `seed ${seed}\n${disassemble(spec.instructions)}`).toEqual(kernel);
    }
    expect(agreed).toBe(5000);
  });

  it.each(["schedCls", "xdp"] as const)(
    "on packets, maps and results after 1000 programs calling helpers (%s)",
    (type) => {
      // The maps live on from one program to the next, so they fill up and run over.
      const [vmMaps, kernelMaps] = maps(randomCallMaps);
      let agreed = 0;
      for (let seed = 0; seed < 1000; seed++) {
        const random = new Random(seed);
        const [etherType, shortest] = random.pick(frameKinds[type]);
        const length = Math.max(shortest, random.pick([14, 15, 33, 34, 54, 60, 61, 300, 1500, 3519, 3520]));
        const frame = Uint8Array.from({ length }, () => random.below(4) && random.next());
        frame.set([etherType >> 8, etherType & 0xff], 12);
        if (random.below(2) === 0) frame.fill(random.pick([0, 0xff]), 0, 6);
        const spec = randomCalls(seed, type);
        const { vm, kernel } = runBoth(spec, frame, vmMaps, kernelMaps);
        if (vm.join() === kernel.join()) agreed++;
        else expect(vm, `seed ${seed}, ${length} bytes\n${disassemble(spec.instructions)}`).toEqual(kernel);
      }
      expect(agreed).toBe(1000);
    },
  );
});
