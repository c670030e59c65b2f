/**
 * Constructors for every instruction, table-driven: `alu64.add.reg(dst, src)`, `alu32.mov.imm(dst, 1)`,
 * `jump64.ugt.reg(dst, src, slots)`, `load(4, dst, base, offset)`. Registers are numbers 0 to 10. Jump offsets count slots
 * from the instruction after the jump. Values that do not fit their field are a RangeError.
 */
import { helpers, type Helper, type HelperName } from "./helpers.ts";
import type { Instruction, Reference } from "./instruction.ts";
import {
  AluOp,
  Atomic,
  CallSource,
  Control,
  InstructionClass,
  JumpOp,
  Mode,
  SizeCode,
  Source,
  WIDE_LOAD,
  WideSource,
  type AluOpName,
  type AtomicOpName,
  type JumpOpName,
  type Size,
} from "./opcodes.ts";

function make(opcode: number, dst: number, src: number, offset: number, imm: number): Instruction {
  if (!(dst >= 0 && dst <= 10 && src >= 0 && src <= 10))
    throw new RangeError(`No register r${dst > 10 || dst < 0 ? dst : src}`);
  if (!Number.isInteger(offset) || offset !== (offset << 16) >> 16) {
    throw new RangeError(`Offset ${offset} does not fit 16 signed bits`);
  }
  // The unsigned notation of 32 bits is accepted and stored signed.
  if (!Number.isInteger(imm) || imm < -0x8000_0000 || imm > 0xffff_ffff) {
    throw new RangeError(`Immediate ${imm} does not fit 32 bits`);
  }
  return { opcode, dst, src, offset, imm: imm | 0 };
}

/** One arithmetic operation with its second operand in a register or in the instruction (sign-extended to 64 bits). */
export interface AluConstructors {
  reg(dst: number, src: number): Instruction;
  imm(dst: number, imm: number): Instruction;
}

type PlainAluOpName = Exclude<AluOpName, "neg" | "end">;
const plainAluOps = Object.keys(AluOp).filter((name) => name !== "neg" && name !== "end") as PlainAluOpName[];

function aluOp(instructionClass: number, op: number, offset: number): AluConstructors {
  return {
    reg: (dst, src) => make(instructionClass | op | Source.reg, dst, src, offset, 0),
    imm: (dst, imm) => make(instructionClass | op | Source.imm, dst, 0, offset, imm),
  };
}

/** Arithmetic of one width; `sdiv` and `smod` round towards zero, `neg` has one operand. */
export type Alu = Readonly<Record<PlainAluOpName | "sdiv" | "smod", AluConstructors>> & {
  neg(dst: number): Instruction;
  /** `dst = (signed) low bits of src`; 32 bits only at 64-bit width. */
  movSigned(dst: number, src: number, bits: 8 | 16 | 32): Instruction;
};

function aluOfWidth(instructionClass: number): Alu {
  const plain = Object.fromEntries(plainAluOps.map((name) => [name, aluOp(instructionClass, AluOp[name], 0)]));
  return {
    ...(plain as Record<PlainAluOpName, AluConstructors>),
    sdiv: aluOp(instructionClass, AluOp.div, 1),
    smod: aluOp(instructionClass, AluOp.mod, 1),
    neg: (dst) => make(instructionClass | AluOp.neg, dst, 0, 0, 0),
    movSigned(dst, src, bits) {
      if (bits === 32 && instructionClass === InstructionClass.alu32)
        throw new RangeError("No 32-bit move sign-extends 32 bits");
      return make(instructionClass | AluOp.mov | Source.reg, dst, src, bits, 0);
    },
  };
}

export const alu64 = aluOfWidth(InstructionClass.alu64);
/** Works on the low halves; the upper half of the result is zero. */
export const alu32 = aluOfWidth(InstructionClass.alu32);

/** Byte order: `toBe`/`toLe` convert between host and that order, `swap` always swaps; all zero the bits above. */
export const endian = {
  toLe: (dst: number, bits: 16 | 32 | 64) => make(InstructionClass.alu32 | AluOp.end, dst, 0, 0, bits),
  toBe: (dst: number, bits: 16 | 32 | 64) => make(InstructionClass.alu32 | AluOp.end | Source.reg, dst, 0, 0, bits),
  swap: (dst: number, bits: 16 | 32 | 64) => make(InstructionClass.alu64 | AluOp.end, dst, 0, 0, bits),
} as const;

/** A conditional jump over `offset` slots, taken when `dst op operand` holds. */
export interface JumpConstructors {
  reg(dst: number, src: number, offset: number): Instruction;
  imm(dst: number, imm: number, offset: number): Instruction;
}
export type Jumps = Readonly<Record<JumpOpName, JumpConstructors>>;

function jumpsOfWidth(instructionClass: number): Jumps {
  return Object.fromEntries(
    Object.entries(JumpOp).map(([name, op]) => [
      name,
      {
        reg: (dst, src, offset) => make(instructionClass | op | Source.reg, dst, src, offset, 0),
        imm: (dst, imm, offset) => make(instructionClass | op | Source.imm, dst, 0, offset, imm),
      } satisfies JumpConstructors,
    ]),
  ) as Record<JumpOpName, JumpConstructors>;
}

export const jump64 = jumpsOfWidth(InstructionClass.jump64);
/** Compares the low halves. */
export const jump32 = jumpsOfWidth(InstructionClass.jump32);

/** Jumps over `offset` slots. */
export function goto(offset: number): Instruction {
  return make(InstructionClass.jump64 | Control.always, 0, 0, offset, 0);
}

/** Jumps over `offset` slots, a 32-bit number (instruction set v4). */
export function gotoLong(offset: number): Instruction {
  return make(InstructionClass.jump32 | Control.always, 0, 0, 0, offset);
}

/** Calls a helper by name, number or table entry: arguments in r1 to r5, result in r0. */
export function call(helper: HelperName | Helper | number): Instruction {
  const number =
    typeof helper === "number" ? helper : typeof helper === "string" ? helpers[helper].number : helper.number;
  return make(InstructionClass.jump64 | Control.call, 0, CallSource.helper, 0, number);
}

/** Calls the function of the same program that begins `offset` slots after the next instruction. */
export function callFunction(offset: number): Instruction {
  return make(InstructionClass.jump64 | Control.call, 0, CallSource.function, 0, offset);
}

/** Calls a function of the kernel (kfunc) by name: arguments in r1 to r5, result in r0. */
export function callKernel(name: string): Instruction {
  const call = make(InstructionClass.jump64 | Control.call, 0, CallSource.kernelFunction, 0, 0);
  return { ...call, reference: { kind: "function", name } };
}

export function exit(): Instruction {
  return make(InstructionClass.jump64 | Control.exit, 0, 0, 0, 0);
}

/** `dst = *(unsigned *)(base + offset)`. */
export function load(size: Size, dst: number, base: number, offset: number): Instruction {
  return make(InstructionClass.ldx | Mode.mem | SizeCode[size], dst, base, offset, 0);
}

/** `dst = *(signed *)(base + offset)` (instruction set v4). */
export function loadSigned(size: 1 | 2 | 4, dst: number, base: number, offset: number): Instruction {
  return make(InstructionClass.ldx | Mode.memSigned | SizeCode[size], dst, base, offset, 0);
}

/** `*(base + offset) = src`. */
export function store(size: Size, base: number, offset: number, src: number): Instruction {
  return make(InstructionClass.stx | Mode.mem | SizeCode[size], base, src, offset, 0);
}

/** `*(base + offset) = imm`, sign-extended. */
export function storeImm(size: Size, base: number, offset: number, imm: number): Instruction {
  return make(InstructionClass.st | Mode.mem | SizeCode[size], base, 0, offset, imm);
}

/**
 * `dst = *(base + offset of struct.field)`; the offset is the running kernel's. `fieldSize` are the bytes the field must
 * have there, for those who read all of it.
 */
export function loadField(
  size: Size,
  dst: number,
  base: number,
  struct: string,
  field: string,
  fieldSize?: number,
): Instruction {
  return { ...load(size, dst, base, 0), reference: fieldReference(struct, field, fieldSize) };
}

/** `*(base + offset of struct.field) = src`, as `loadField`. */
export function storeField(
  size: Size,
  base: number,
  struct: string,
  field: string,
  src: number,
  fieldSize?: number,
): Instruction {
  return { ...store(size, base, 0, src), reference: fieldReference(struct, field, fieldSize) };
}

function fieldReference(struct: string, field: string, size: number | undefined): Reference {
  return { kind: "field", struct, field, ...(size !== undefined && { size }) };
}

/** `dst += offset of struct.field`, from a structure to its member; `negative` goes back, from the member to the structure. */
export function addFieldOffset(dst: number, struct: string, field: string, negative?: "negative"): Instruction {
  const reference: Reference = { kind: "fieldOffset", struct, field, ...(negative && { negative: true }) };
  return { ...alu64.add.imm(dst, 0), reference };
}

/** `dst =` the shift or the mask of a bit field, for the byte that a `loadField` of it reads. */
export function loadBits(dst: number, struct: string, field: string, part: "shift" | "mask"): Instruction {
  return { ...alu64.mov.imm(dst, 0), reference: { kind: "bitField", struct, field, part } };
}

/** `dst =` the running kernel's number of a structure. */
export function loadType(dst: number, struct: string): Instruction {
  return { ...alu64.mov.imm(dst, 0), reference: { kind: "type", struct } };
}

/** `dst = value`, 64 bits; negative values are taken as two's complement. Fills two slots. */
export function loadImm64(dst: number, value: bigint): Instruction {
  return { ...make(WIDE_LOAD, dst, WideSource.value, 0, 0), wide: BigInt.asUintN(64, value) };
}

/** `dst = map`, for a helper's argument. Fills two slots. */
export function loadMap(dst: number, map: string): Instruction {
  return { ...make(WIDE_LOAD, dst, WideSource.mapFd, 0, 0), reference: { kind: "map", map } };
}

/** `dst =` address of byte `offset` of entry 0 of an array map. Fills two slots. */
export function loadMapValue(dst: number, map: string, offset: number): Instruction {
  return { ...make(WIDE_LOAD, dst, WideSource.mapValue, 0, 0), reference: { kind: "mapValue", map, offset } };
}

function atomicInstruction(size: 4 | 8, base: number, offset: number, src: number, operation: number): Instruction {
  return make(InstructionClass.stx | Mode.atomic | SizeCode[size], base, src, offset, operation);
}

/** `*(base + offset) op= src`; with `fetch`, src also becomes the old value. */
export function atomic(
  op: AtomicOpName,
  size: 4 | 8,
  base: number,
  offset: number,
  src: number,
  fetch?: "fetch",
): Instruction {
  return atomicInstruction(size, base, offset, src, Atomic[op] | (fetch ? Atomic.fetch : 0));
}

/** Swaps `src` with memory. */
export function atomicExchange(size: 4 | 8, base: number, offset: number, src: number): Instruction {
  return atomicInstruction(size, base, offset, src, Atomic.xchg);
}

/** If memory equals r0 it becomes `src`; r0 becomes the old value in any case. */
export function atomicCompareExchange(size: 4 | 8, base: number, offset: number, src: number): Instruction {
  return atomicInstruction(size, base, offset, src, Atomic.cmpxchg);
}
