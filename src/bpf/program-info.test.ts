import { describe, expect, it } from "vitest";
import { alu64, callFunction, exit, loadImm64 } from "./asm.ts";
import { Btf } from "./btf/index.ts";
import type { Instruction, SourcePosition } from "./instruction.ts";
import { programInfo } from "./program-info.ts";
import type { ProgramSpec } from "./spec.ts";

const at = (line: number, column: number): SourcePosition => ({
  file: "policy.ts",
  line,
  column,
  text: `line ${line}`,
});

function spec(instructions: readonly Instruction[]): ProgramSpec {
  return { name: "rate.limit", type: "schedCls", license: "GPL", instructions, maps: {} };
}

function records(bytes: Uint8Array, size: number): number[][] {
  const all = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  return Array.from({ length: bytes.length / size }, (_, i) => [...all.subarray((i * size) / 4, ((i + 1) * size) / 4)]);
}

describe("programInfo()", () => {
  const program = spec([
    loadImm64(1, 5n),
    { ...alu64.mov.imm(0, 1), position: at(3, 5) },
    { ...alu64.add.imm(0, 1), position: at(3, 5) },
    callFunction(1),
    { ...exit(), position: at(4, 1) },
    alu64.mov.imm(0, 2),
    { ...exit(), position: at(9, 2000) },
  ]);
  const info = programInfo(program);
  const btf = new Btf(info.btf);

  it("gives each run of one position a line, counted in slots, and each function one at its beginning", () => {
    const lines = records(info.lineInfo, 16).map(([slot, file, text, place]) => {
      return `${slot} ${btf.text(file)} ${btf.text(text)} ${place >>> 10}:${place & 0x3ff}`;
    });
    expect(lines).toEqual(["0 policy.ts line 3 3:5", "5 policy.ts line 4 4:1", "6 policy.ts line 9 9:1023"]);
  });

  it("names the program and each function it calls", () => {
    const functions = records(info.functionInfo, 8).map(([slot, type]) => `${slot} ${btf.nameOf(type)}`);
    expect(functions).toEqual(["0 rate_limit", "6 rate_limit_6"]);
  });

  it("has no line info for a program without positions", () => {
    expect(programInfo(spec([alu64.mov.imm(0, 0), exit()])).lineInfo.length).toBe(0);
  });
});
