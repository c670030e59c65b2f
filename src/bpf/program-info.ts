/**
 * What the kernel is told about a program besides its instructions: its functions and the source line of each
 * instruction, so that its log shows the policy's own text (`struct bpf_func_info`, `struct bpf_line_info`).
 */
import { BtfBuilder } from "./btf/builder.ts";
import { IntEncoding, Linkage } from "./btf/format.ts";
import { slotIndex } from "./encode.ts";
import type { SourcePosition } from "./instruction.ts";
import { CallSource, Control, InstructionClass } from "./opcodes.ts";
import type { ProgramSpec } from "./spec.ts";

/** Bytes of one record. */
export const FUNCTION_INFO_SIZE = 8;
export const LINE_INFO_SIZE = 16;

/** Blobs for BPF_BTF_LOAD and BPF_PROG_LOAD. */
export interface ProgramInfoBlobs {
  readonly btf: Uint8Array;
  /** Records of `FUNCTION_INFO_SIZE`. */
  readonly functionInfo: Uint8Array;
  /** Records of `LINE_INFO_SIZE`; empty for a program without source positions. */
  readonly lineInfo: Uint8Array;
}

/** Columns have 10 bits, lines 22. */
const MAX_COLUMN = 0x3ff;
const MAX_LINE = 0x3f_ffff;

/** Slots at which functions begin: 0 and the target of each call. */
function functionStarts(spec: ProgramSpec, starts: readonly number[]): number[] {
  const found = new Set([0]);
  spec.instructions.forEach(({ opcode, src, imm }, index) => {
    const isCall = opcode === (InstructionClass.jump64 | Control.call) && src === CallSource.function;
    if (isCall) found.add(starts[index + 1] + imm);
  });
  return [...found].sort((a, b) => a - b);
}

/** The name as an identifier, which is all the kernel accepts for a function. */
export function identifier(name: string): string {
  const text = name.replace(/\W/g, "_");
  return /^\d/.test(text) || text === "" ? `_${text}` : text;
}

/** 32-bit words, one record after the other. */
export function words(records: readonly (readonly number[])[]): Uint8Array {
  const flat = records.flat();
  const bytes = new Uint8Array(flat.length * 4);
  const view = new DataView(bytes.buffer);
  flat.forEach((word, i) => view.setUint32(i * 4, word, true));
  return bytes;
}

/** Describes a program. */
export function programInfo(spec: ProgramSpec): ProgramInfoBlobs {
  const builder = new BtfBuilder();
  const { functions, lines } = describeProgram(spec, builder);
  return { btf: builder.build(), functionInfo: words(functions), lineInfo: words(lines) };
}

/** Records as words; the first word of each is a slot. */
export interface ProgramRecords {
  readonly functions: readonly (readonly number[])[];
  readonly lines: readonly (readonly number[])[];
}

/**
 * Adds a program's functions to BTF that may describe more than this program. Lines are recorded at the first instruction
 * of each run of one position.
 * @param name of the main function
 */
export function describeProgram(spec: ProgramSpec, builder: BtfBuilder, name = identifier(spec.name)): ProgramRecords {
  const starts = slotIndex(spec.instructions);
  const int = builder.add({ kind: "int", name: "int", size: 4, bits: 32, bitOffset: 0, encoding: IntEncoding.signed });
  const long = builder.add({
    kind: "int",
    name: "unsigned long",
    size: 8,
    bits: 64,
    bitOffset: 0,
    encoding: IntEncoding.none,
  });
  const pointer = builder.add({ kind: "pointer", type: 0 });
  const main = builder.add({ kind: "functionPrototype", returns: int, parameters: [{ name: "ctx", type: pointer }] });
  const functions = functionStarts(spec, starts);
  const inner =
    functions.length > 1
      ? builder.add({
          kind: "functionPrototype",
          returns: long,
          parameters: [1, 2, 3, 4, 5].map((n) => ({ name: `r${n}`, type: long })),
        })
      : main;
  const functionRecords = functions.map((slot, i) => {
    const id = builder.add({
      kind: "function",
      name: i === 0 ? name : `${name}_${slot}`,
      type: i === 0 ? main : inner,
      linkage: i === 0 ? Linkage.global : Linkage.static,
    });
    return [slot, id];
  });
  const lineRecords = positions(spec, starts, new Set(functions)).map(({ slot, position }) => [
    slot,
    builder.addString(position.file),
    builder.addString(position.text),
    ((Math.min(position.line, MAX_LINE) << 10) | Math.min(position.column, MAX_COLUMN)) >>> 0,
  ]);
  return { functions: functionRecords, lines: lineRecords };
}

function same(a: SourcePosition | undefined, b: SourcePosition | undefined): boolean {
  return (
    a === b || (a !== undefined && b !== undefined && a.file === b.file && a.line === b.line && a.column === b.column)
  );
}

/** Where positions change. The kernel wants a record at each function's first slot: it gets the next position there is. */
function positions(
  spec: ProgramSpec,
  starts: readonly number[],
  functions: ReadonlySet<number>,
): { slot: number; position: SourcePosition }[] {
  const { instructions } = spec;
  const records: { slot: number; position: SourcePosition }[] = [];
  if (!instructions.some((instruction) => instruction.position)) return records;
  let last: SourcePosition | undefined;
  instructions.forEach((instruction, index) => {
    const slot = starts[index];
    const isStart = functions.has(slot);
    const position =
      instruction.position ??
      (isStart ? (instructions.slice(index).find((next) => next.position)?.position ?? last) : undefined);
    if (!position || (same(position, last) && !isStart)) return;
    records.push({ slot, position });
    last = position;
  });
  return records;
}
