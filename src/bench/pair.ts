/** A chain and its baseline in the kernel, side by side: they must agree before they are compared. */
import { alu32, exit } from "../bpf/asm.ts";
import { countersMap, hooks, parametersMap, type ChainMode } from "../compiler/index.ts";
import {
  loadCollection,
  loadProgram,
  testRun,
  type Collection,
  type KernelMap,
  type MapEntry,
  type KernelProgram,
} from "../linux/index.ts";
import { compileBaseline } from "./baseline.ts";
import { baselineParameters, policyChain, type BenchChain, type BenchHook } from "./chains.ts";
import { samplePackets } from "./packets.ts";

export interface Side {
  readonly program: KernelProgram;
  readonly counters: KernelMap;
  close(): void;
}

const firstKey = new Uint8Array(4);

export function loadChain(chain: BenchChain, hook: BenchHook, mode: ChainMode = "fused"): Side {
  const { compiled, parameters } = policyChain(chain, hook).with({ mode }).plan();
  const collection = loadCollection(compiled);
  if (parameters) collection.maps[parametersMap].update(firstKey, parameters);
  return side(collection, hook, countersMap);
}

export function loadBaseline(chain: BenchChain, hook: BenchHook): Side {
  const program = compileBaseline(chain.baseline, hook);
  const collection = loadCollection({ programs: { chain: program } });
  if (chain.set) collection.maps["members"].updateMany(contentsOf(chain, hook));
  // Parameters; one whose parameters are those of members has none.
  const map: KernelMap | undefined = collection.maps[".bss"];
  if (map) {
    const words = new BigUint64Array(map.valueSize / 8).map((_, i) => BigInt(baselineParameters[i] ?? 0));
    map.update(firstKey, new Uint8Array(words.buffer));
  }
  return side(collection, "chain", "counters");
}

/** The members of a chain's set as they lie in its map. */
function contentsOf(chain: BenchChain, hook: BenchHook): readonly MapEntry[] {
  return policyChain(chain, hook).compile().maps[chain.set!.slot.map].contents!;
}

/** A program that lets every packet go on, and does nothing else. */
export function loadEmpty(hook: BenchHook): KernelProgram {
  const { programType, attachType, proceed } = hooks[hook];
  const instructions = [alu32.mov.imm(0, proceed | 0), exit()];
  return loadProgram({ name: "empty", type: programType, attachType, license: "GPL", instructions, maps: {} }, {});
}

function side(collection: Collection, program: string, counters: string): Side {
  return {
    program: collection.programs[program],
    counters: collection.maps[counters],
    close: () => collection.close(),
  };
}

/** @throws Error naming the packet on which the two sides differ: in verdict, in what they make of it, in what they count */
export function checkAgreement(where: string, ours: Side, baseline: Side): void {
  for (const [name, data] of Object.entries(samplePackets)) {
    const [a, b] = [testRun(ours.program, { data }), testRun(baseline.program, { data })];
    const fail = (what: string, mine: number | string, expected: number | string): never => {
      throw new Error(`Cannot compare ${where}: for the packet "${name}" ${what} ${mine}, by the baseline ${expected}`);
    };
    if (a.returnValue !== b.returnValue) fail("the verdict is", a.returnValue, b.returnValue);
    if (a.data.length !== b.data.length) fail("the length becomes", a.data.length, b.data.length);
    const at = a.data.findIndex((byte, i) => byte !== b.data[i]);
    if (at >= 0) fail(`byte ${at} becomes`, a.data[at], b.data[at]);
    const expected = totals(baseline.counters);
    const counted = totals(ours.counters).slice(0, expected.length);
    if (counted.join() !== expected.join()) fail("the counters are", counted.join(" "), expected.join(" "));
  }
}

function totals(counters: KernelMap): bigint[] {
  const sums = Array.from({ length: counters.valueSize / 8 }, () => 0n);
  for (const bytes of counters.lookupPerCpu(firstKey) ?? []) {
    new BigUint64Array(bytes.slice().buffer).forEach((value, i) => {
      sums[i] += value;
    });
  }
  return sums;
}
