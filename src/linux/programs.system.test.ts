import { mkdirSync, readdirSync, rmSync, rmdirSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as asm from "../bpf/asm.ts";
import type { Instruction } from "../bpf/instruction.ts";
import type { MapSpec, ProgramSpec } from "../bpf/spec.ts";
import { ensureBpffs } from "./bpffs.ts";
import { loadCollection } from "./collection.ts";
import { createMap } from "./maps.ts";
import { enableRunStatistics, loadProgram, openProgram, programFromId, testRun } from "./programs.ts";
import { VerifierError } from "./verifier-error.ts";

let directory: string;
beforeAll(() => {
  directory = `${ensureBpffs()}/emptcp-programs-${process.pid}`;
  mkdirSync(directory);
});
afterAll(() => rmdirSync(directory));

const counters: MapSpec = { name: "counters", type: "array", keySize: 4, valueSize: 8, maxEntries: 4 };
const total: MapSpec = { ...counters, name: "total", maxEntries: 1 };
const packet = Uint8Array.from({ length: 64 }, (_, index) => index);

function xdp(instructions: readonly Instruction[], maps: Record<string, MapSpec> = {}): ProgramSpec {
  return { name: "test", type: "xdp", attachType: "xdp", license: "GPL", instructions, maps };
}

/** Adds 5 to the total by its address, looks entry 1 up and writes it, overwrites the first byte of the packet. */
const counting = xdp(
  [
    asm.load(4, 2, 1, 0),
    asm.load(4, 3, 1, 4),
    asm.alu64.mov.reg(4, 2),
    asm.alu64.add.imm(4, 1),
    asm.jump64.ugt.reg(4, 3, 1),
    asm.storeImm(1, 2, 0, 0x7f),
    asm.loadMapValue(1, "total", 0),
    asm.alu64.mov.imm(2, 5),
    asm.atomic("add", 8, 1, 0, 2),
    asm.loadMap(1, "counters"),
    asm.storeImm(4, 10, -4, 1),
    asm.alu64.mov.reg(2, 10),
    asm.alu64.add.imm(2, -4),
    asm.call("mapLookupElem"),
    asm.jump64.eq.imm(0, 0, 1),
    asm.storeImm(8, 0, 0, 77),
    asm.alu64.mov.imm(0, 2),
    asm.exit(),
  ],
  { counters, total },
);

const u32 = (value: number) => Uint8Array.of(value, 0, 0, 0);
const u64 = (value: number) => Uint8Array.of(value, 0, 0, 0, 0, 0, 0, 0);

test("loadProgram() ties the program to its maps, testRun() gives verdict, packet and duration", () => {
  using map = createMap(counters);
  using sum = createMap(total);
  using program = loadProgram(counting, { counters: map, total: sum });
  const result = testRun(program, { data: packet, repeat: 3 });
  expect(result.returnValue).toBe(2);
  expect(result.data).toEqual(Uint8Array.from([0x7f, ...packet.subarray(1)]));
  expect(result.durationNs).toBeGreaterThanOrEqual(0);
  expect(sum.lookup(u32(0))).toEqual(u64(15));
  expect(map.lookup(u32(1))).toEqual(u64(77));
});

test("testRun() returns the context a tc program leaves", () => {
  const PRIORITY = 32;
  const spec: ProgramSpec = {
    ...xdp([asm.alu64.mov.imm(2, 9), asm.store(4, 1, PRIORITY, 2), asm.alu64.mov.imm(0, 0), asm.exit()]),
    type: "schedCls",
    attachType: "tcxIngress",
  };
  using program = loadProgram(spec, {});
  const { context } = testRun(program, { data: packet, context: new Uint8Array(192) });
  expect(new DataView(context!.buffer).getUint32(PRIORITY, true)).toBe(9);
});

test("testRun() says why a packet cannot be run", () => {
  using program = loadProgram(xdp([asm.alu64.mov.imm(0, 2), asm.exit()]), {});
  expect(() => testRun(program, { data: packet.subarray(0, 5) })).toThrow("a packet needs its whole Ethernet header");
});

test("KernelProgram.info() tells size, maps and, with statistics on, runs", () => {
  using map = createMap(counters);
  using sum = createMap(total);
  using program = loadProgram(counting, { counters: map, total: sum });
  const statistics = enableRunStatistics();
  try {
    testRun(program, { data: packet, repeat: 10 });
  } finally {
    statistics.close();
  }
  const info = program.info();
  expect(info).toMatchObject({ name: "test", type: "xdp", mapIds: [sum.info().id, map.info().id] });
  expect(info.tag).toMatch(/^[0-9a-f]{16}$/);
  expect(info.jitedBytes).toBeGreaterThan(0);
  expect(info.translatedBytes).toBeGreaterThan(0);
  using again = programFromId(info.id);
  expect(again.info().tag).toBe(info.tag);
});

test("openProgram() finds a pinned program after its maker closed it, and nothing but programs", () => {
  const path = `${directory}/program`;
  const other = `${directory}/map`;
  try {
    using map = createMap(counters);
    map.pin(other);
    using sum = createMap(total);
    const program = loadProgram(counting, { counters: map, total: sum });
    program.pin(path);
    program.close();
    using again = openProgram(path);
    expect(testRun(again, { data: packet }).returnValue).toBe(2);
    expect(() => openProgram(other)).toThrow("it is not a program");
  } finally {
    rmSync(path, { force: true });
    rmSync(other, { force: true });
  }
});

test("loadProgram() answers a refusal with the line of the policy", () => {
  const position = { file: "policies/careless.ts", line: 7, column: 13, text: "    return packet.u8(300);" };
  const spec = xdp([
    { ...asm.load(4, 2, 1, 0), position: { ...position, line: 6, text: "    const { packet } = context;" } },
    { ...asm.load(1, 0, 2, 300), position },
    asm.exit(),
  ]);
  let thrown: unknown;
  try {
    loadProgram(spec, {}).close();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(VerifierError);
  const error = thrown as VerifierError;
  expect(error).toMatchObject({ position, instruction: 1, program: "test" });
  expect(error.message).toContain("policies/careless.ts:7:13: it touches bytes of the packet");
  expect(error.message).toContain("  7 |     return packet.u8(300);");
  expect(error.log).toContain("invalid access to packet");
});

const LOOKUP = [
  asm.storeImm(4, 10, -4, 1),
  asm.alu64.mov.reg(2, 10),
  asm.alu64.add.imm(2, -4),
  asm.loadMap(1, "counters"),
  asm.call("mapLookupElem"),
];
const refusals: Record<string, { instructions: Instruction[]; at?: number; words: string }> = {
  "an untested look-up": { instructions: [...LOOKUP, asm.load(8, 0, 0, 0), asm.exit()], at: 5, words: "found nothing" },
  "a number used as an address": {
    instructions: [asm.alu64.mov.imm(1, 5), asm.load(8, 0, 1, 0), asm.exit()],
    at: 1,
    words: "a number as if it were an address",
  },
  "an endless loop": {
    instructions: [asm.call("getPrandomU32"), asm.jump64.eq.imm(0, 5, -1), asm.exit()],
    at: 1,
    words: "loop",
  },
  // Wherever in the loop the verifier is when it has followed a million instructions.
  "a loop that is too long": {
    instructions: [
      asm.alu64.mov.imm(0, 0),
      asm.alu64.add.imm(0, 1),
      asm.jump64.ult.imm(0, 100_000_000, -2),
      asm.exit(),
    ],
    words: "gave up",
  },
  "stack beyond its end": { instructions: [asm.storeImm(8, 10, -520, 0), asm.exit()], at: 0, words: "512 bytes" },
  "no result": { instructions: [asm.exit()], at: 0, words: "without having chosen a result" },
  "a variable that is not set": {
    instructions: [asm.alu64.mov.reg(0, 5), asm.exit()],
    at: 0,
    words: "not set on every path",
  },
  "a context field that is not there": {
    instructions: [asm.load(4, 0, 1, 200), asm.exit()],
    at: 0,
    words: "offset 200 of its context",
  },
  "a helper of another hook": {
    instructions: [asm.call("skbLoadBytes"), asm.exit()],
    at: 0,
    words: "calls a kernel function",
  },
  "a helper that is not there": { instructions: [asm.call(9999), asm.exit()], at: 0, words: "calls a kernel function" },
  "division by zero": {
    instructions: [asm.alu64.mov.imm(0, 1), asm.alu64.div.imm(0, 0), asm.exit()],
    at: 1,
    words: "divides by the constant zero",
  },
  "a register that a call discarded": {
    instructions: [asm.load(4, 2, 1, 0), asm.call("ktimeGetNs"), asm.load(4, 2, 1, 0), asm.exit()],
    at: 2,
    words: "not set on every path",
  },
  "an address that is multiplied": {
    instructions: [asm.load(4, 2, 1, 0), asm.alu64.mul.imm(2, 2), asm.exit()],
    at: 1,
    words: "computes with an address",
  },
  "an index without limits": {
    instructions: [
      asm.load(4, 6, 1, 12),
      ...LOOKUP,
      asm.jump64.eq.imm(0, 0, 2),
      asm.alu64.add.reg(0, 6),
      asm.load(1, 0, 0, 0),
      asm.alu64.mov.imm(0, 0),
      asm.exit(),
    ],
    at: 8,
    words: "index",
  },
  "a record that is not given back": {
    instructions: [
      asm.loadMap(1, "events"),
      asm.alu64.mov.imm(2, 8),
      asm.alu64.mov.imm(3, 0),
      asm.call("ringbufReserve"),
      asm.alu64.mov.imm(0, 0),
      asm.exit(),
    ],
    at: 5,
    words: "not given back on every path",
  },
  "code after the end": { instructions: [asm.alu64.mov.imm(0, 0), asm.exit(), asm.exit()], at: 2, words: "never run" },
  "a jump out of the program": { instructions: [asm.goto(10), asm.exit()], at: 0, words: "do not form a program" },
};

test.each(Object.entries(refusals))("loadProgram() explains %s", (_, { instructions, at, words }) => {
  const events: MapSpec = { name: "events", type: "ringBuffer", keySize: 0, valueSize: 0, maxEntries: 4096 };
  const placed = instructions.map((instruction, index) => {
    return { ...instruction, position: { file: "p.ts", line: index + 1, column: 1, text: "x" } };
  });
  using maps = loadCollection({ programs: {}, maps: { counters, events } });
  let error: unknown;
  try {
    loadProgram(xdp(placed, { counters, events }), maps.maps).close();
  } catch (thrown) {
    error = thrown;
  }
  expect(error, String(error)).toBeInstanceOf(VerifierError);
  const refused = error as VerifierError;
  expect(refused.advice, refused.log.slice(-600)).toBeDefined();
  expect(refused.explanation, refused.log.slice(-600)).toContain(words);
  expect(refused.position, refused.log.slice(-600)).toMatchObject(at === undefined ? {} : { line: at + 1 });
});

test("loadCollection() shares maps between programs and closes everything when one is refused", () => {
  using collection = loadCollection({ programs: { first: counting, second: counting } });
  testRun(collection.programs["first"], { data: packet });
  testRun(collection.programs["second"], { data: packet });
  expect(collection.maps["total"].lookup(u32(0))).toEqual(u64(10));
  const before = openDescriptors();
  expect(() => loadCollection({ programs: { good: counting, bad: xdp([asm.exit()]) } })).toThrow(VerifierError);
  expect(openDescriptors()).toBe(before);
  const other = { ...counting, maps: { total, counters: { ...counters, valueSize: 16 } } };
  expect(() => loadCollection({ programs: { counting, other } })).toThrow("Cannot share map counters");
});

function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}
