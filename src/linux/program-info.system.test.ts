import { describe, expect, it } from "vitest";
import { alu64, callFunction, exit, load } from "../bpf/asm.ts";
import { encode, slots } from "../bpf/encode.ts";
import type { Instruction, SourcePosition } from "../bpf/instruction.ts";
import { FUNCTION_INFO_SIZE, LINE_INFO_SIZE, programInfo } from "../bpf/program-info.ts";
import { ProgramType, type ProgramSpec } from "../bpf/spec.ts";
import { tryBpf } from "./bpf-syscall.ts";
import { KernelObject } from "./kernel-object.ts";

const at = (line: number, text: string): SourcePosition => ({ file: "policy.ts", line, column: 3, text });

/** Loads a program with all its info and returns the verifier's log. */
function verifierLog(
  instructions: readonly Instruction[],
  type: "schedCls" | "xdp" | "sockOps",
): { ok: boolean; log: string } {
  const spec: ProgramSpec = { name: "with.info", type, license: "GPL", instructions, maps: {} };
  const info = programInfo(spec);
  const btf = tryBpf("btfLoad", { btf: info.btf, size: info.btf.length });
  if (btf.result < 0) throw new Error(`The kernel refuses the BTF: errno ${btf.errno}`);
  const btfObject = new KernelObject(btf.result, "BTF");
  const logBuffer = new Uint8Array(65536);
  const outcome = tryBpf("progLoad", {
    type: ProgramType[type],
    instructions: encode(instructions),
    instructionCount: slots(instructions),
    license: "GPL",
    name: spec.name,
    logLevel: 2,
    logSize: logBuffer.length,
    logBuffer,
    btfFd: btf.result,
    funcInfoRecordSize: FUNCTION_INFO_SIZE,
    funcInfo: info.functionInfo,
    funcInfoCount: info.functionInfo.length / FUNCTION_INFO_SIZE,
    lineInfoRecordSize: LINE_INFO_SIZE,
    lineInfo: info.lineInfo,
    lineInfoCount: info.lineInfo.length / LINE_INFO_SIZE,
  });
  if (outcome.result >= 0) new KernelObject(outcome.result, "program").close();
  btfObject.close();
  return { ok: outcome.result >= 0, log: new TextDecoder().decode(logBuffer.subarray(0, logBuffer.indexOf(0))) };
}

describe("programInfo()", () => {
  it.each(["schedCls", "xdp", "sockOps"] as const)("is accepted for %s programs with functions", (type) => {
    const { ok, log } = verifierLog(
      [
        { ...alu64.mov.imm(1, 1), position: at(1, "const one = 1;") },
        alu64.mov.imm(2, 2),
        alu64.mov.imm(3, 0),
        alu64.mov.imm(4, 0),
        alu64.mov.imm(5, 0),
        callFunction(2),
        alu64.mov.imm(0, 0),
        { ...exit(), position: at(2, "return;") },
        { ...alu64.mov.reg(0, 1), position: at(5, "return a + b;") },
        alu64.add.reg(0, 2),
        exit(),
      ],
      type,
    );
    expect(ok, log).toBe(true);
    expect(log).toContain("; const one = 1; @ policy.ts:1");
  });

  it("makes the verifier show the policy's line where it refuses", () => {
    const { ok, log } = verifierLog(
      [
        { ...load(4, 2, 1, 76), position: at(3, "const { tcp } = packet;") },
        { ...load(4, 0, 2, 30), position: at(4, "return tcp.sequence;") },
        exit(),
      ],
      "schedCls",
    );
    expect(ok).toBe(false);
    expect(log).toMatch(/; return tcp\.sequence; @ policy\.ts:4\n.*\ninvalid access to packet/);
  });
});
