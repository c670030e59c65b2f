import { describe, expect, test } from "vitest";
import * as asm from "../asm.ts";
import { Btf } from "../btf/index.ts";
import type { Instruction } from "../instruction.ts";
import type { MapSpec, ProgramSpec } from "../spec.ts";
import { readContainer } from "./container.ts";
import { readElf } from "./read.ts";
import { writeElf } from "./write.ts";

const flows: MapSpec = { name: "flows", type: "lruHash", keySize: 40, valueSize: 56, maxEntries: 65_536 };
const ring: MapSpec = { name: "ring", type: "ringBuffer", keySize: 0, valueSize: 0, maxEntries: 4096 };
const words: MapSpec = { name: "params", type: "array", keySize: 4, valueSize: 16, maxEntries: 1 };
const initial = { key: new Uint8Array(4), value: Uint8Array.from({ length: 16 }, (_, i) => i) };

function program(instructions: readonly Instruction[], rest: Partial<ProgramSpec> = {}): ProgramSpec {
  return { name: "limit", type: "schedCls", license: "GPL", instructions, maps: { flows, params: words }, ...rest };
}
const locked: MapSpec = { ...flows, name: "locked", type: "hash", spinLockAt: 8 };
const position = { file: "policy.ts", line: 7, column: 3, text: "tcp.window = 9;" };
const code = [asm.loadMap(1, "flows"), asm.loadMapValue(2, "params", 8), asm.alu64.mov.imm(0, 0), asm.exit()];

/** Values that programs address are in data sections. */
const inData = (instruction: Instruction): Instruction =>
  instruction.reference?.kind === "mapValue"
    ? { ...instruction, reference: { ...instruction.reference, map: ".data.params" } }
    : instruction;

describe("writeElf()", () => {
  test("writes what readElf() reads: programs of one section, maps, values that programs address", () => {
    const object = {
      programs: { ingress: program(code), egress: program([asm.alu64.mov.imm(3, 1), ...code]) },
      maps: { ring, locked, params: { ...words, spinLockAt: 4, contents: [initial] } },
    };
    const { programs, maps, license } = readElf(writeElf(object));
    expect(programs).toEqual([
      { name: "ingress", section: "tc", instructions: code.map(inData) },
      { name: "egress", section: "tc", instructions: object.programs.egress.instructions.map(inData) },
    ]);
    expect(maps).toEqual({
      flows,
      ring,
      locked,
      ".data.params": { ...words, name: "data.params", spinLockAt: 4, contents: [initial] },
    });
    expect(license).toBe("GPL");
  });

  test("keeps the lines of the policy, each instruction's own in programs that share a section", () => {
    const at = (line: number) => (instruction: Instruction) => ({ ...instruction, position: { ...position, line } });
    const [first, second] = [code.map(at(7)), [...code.slice(0, 2).map(at(20)), ...code.slice(2).map(at(21))]];
    const { programs } = readElf(writeElf({ programs: { ingress: program(first), egress: program(second) } }));
    expect(programs.map(({ instructions }) => instructions.map((one) => one.position?.line))).toEqual([
      [7, 7, 7, 7],
      [20, 20, 21, 21],
    ]);
    expect(programs[0].instructions[0].position).toEqual(position);
  });

  test("describes the fields of kernel structures, for the loader to find them", () => {
    const port = asm.loadField(2, 0, 1, "sock_common", "skc_num");
    const word = asm.loadField(4, 0, 1, "sock_common", "skc_v6_daddr.in6_u.u6_addr32[2]");
    const iter = program([port, word, asm.exit()], { type: "tracing", attachTarget: "bpf_iter_tcp", maps: {} });
    const object = writeElf({ programs: { walk: iter } });
    // Until then, instructions hold the offsets in the structures described.
    expect(readElf(object).programs[0].instructions.map(({ offset }) => offset)).toEqual([0, 8, 0]);
    const { sections } = readContainer(object);
    const btf = new Btf(sections.find(({ name }) => name === ".BTF")!.bytes);
    const info = sections.find(({ name }) => name === ".BTF.ext")!.bytes;
    const view = new DataView(info.buffer, info.byteOffset, info.length);
    const at = 32 + view.getUint32(24, true);
    const records = [12, 28].map((record) => [0, 4, 8].map((field) => view.getUint32(at + record + field, true)));
    expect(records.map(([place, type, path]) => [place, btf.nameOf(type), btf.text(path)])).toEqual([
      [0, "sock_common", "0:0"],
      [8, "sock_common", "0:0:0:0:2"],
    ]);
  });

  test.each<[string, ProgramSpec, string]>([
    ["a map both addressed and passed on", program([...code, asm.loadMap(1, "params")]), "both address its value"],
    ["a hash whose value is addressed", program([asm.loadMapValue(1, "flows", 0)]), "plain arrays of one entry"],
    ["functions of a program's own", program([asm.callFunction(1)]), "calls functions of its own"],
    ["functions of the kernel", program([asm.callKernel("bpf_rdonly_cast")]), "the kernel function bpf_rdonly_cast"],
    ["numbers of structures", program([asm.loadType(1, "mptcp_sock")]), "number of struct mptcp_sock"],
    ["programs that have no section", program(code, { type: "structOps" }), "structOps programs have no section"],
    [
      "contents of other maps",
      program(code, { maps: { flows: { ...flows, contents: [initial] }, params: words } }),
      "makes such maps empty",
    ],
  ])("refuses %s", (_, spec, reason) => {
    expect(() => writeElf({ programs: { limit: spec } })).toThrow(reason);
  });
});
