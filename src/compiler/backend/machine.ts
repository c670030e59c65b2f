/**
 * The machine form between IR and eBPF: instructions as they will be, but over any number of registers and with blocks
 * instead of jump offsets. Registers 0 to 10 are the machine's own, those from `FIRST_VIRTUAL` on are yet to be allocated.
 */
import {
  AluOp,
  Atomic,
  Control,
  InstructionClass,
  JumpOp,
  Mode,
  SizeCode,
  Source,
  WideSource,
  WIDE_LOAD,
} from "../../bpf/opcodes.ts";
import type { JumpOpName, Size } from "../../bpf/opcodes.ts";
import type { Reference, SourcePosition } from "../../bpf/instruction.ts";

export const FIRST_VIRTUAL = 11;
/** Registers that can be allocated: r0 to r9. */
export const ALLOCATABLE = 10;
/** A call leaves r0 to r5 with other contents. */
export const CLOBBERED = 6;

export interface MachineInstruction {
  readonly opcode: number;
  dst: number;
  src: number;
  offset: number;
  readonly imm: number;
  readonly wide?: bigint;
  readonly reference?: Reference;
  /** Of a call: how many of r1 to r5 it reads. */
  readonly argumentCount?: number;
  /** Of a load or store of a spilled register: its slot, which has no offset until all are known. */
  readonly slot?: number;
  readonly position?: SourcePosition | undefined;
}

export interface MachineBlock {
  readonly instructions: MachineInstruction[];
  /** Of the conditional jump to `taken`, if there is one; nowhere to go means `exit`. */
  condition: MachineInstruction | undefined;
  taken: MachineBlock | undefined;
  otherwise: MachineBlock | undefined;
  readonly position?: SourcePosition | undefined;
  readonly loopDepth: number;
}

export interface MachineFunction {
  readonly blocks: MachineBlock[];
  registerCount: number;
  /** Bytes of stack in use, a multiple of 8, growing down from the frame pointer. */
  stackSize: number;
}

export const MOVE = InstructionClass.alu64 | AluOp.mov | Source.reg;
export const MOVE_32 = InstructionClass.alu32 | AluOp.mov | Source.reg;
const MOVE_IMM = InstructionClass.alu64 | AluOp.mov | Source.imm;
const MOVE_IMM_32 = InstructionClass.alu32 | AluOp.mov | Source.imm;
export const CALL = InstructionClass.jump64 | Control.call;
/** BPF_PSEUDO_KFUNC_CALL: the `src` of a call of a kernel function. */
const KERNEL_FUNCTION = 2;
export const EXIT = InstructionClass.jump64 | Control.exit;
export const GOTO = InstructionClass.jump64 | Control.always;

/**
 * In an opcode: `dst` and `src` are to be exchanged when the instruction is written down. Atomic operations that fetch write
 * their source; this way they too are two-address operations on `dst`.
 */
export const EXCHANGED = 0x100;
/** In an opcode: the instruction reads and writes r0 besides. */
export const COMPARED = 0x200;
/** The opcode as the kernel has it. */
export const OPCODE = 0xff;

type Alu = Exclude<keyof typeof AluOp, "neg" | "end">;

/** Constructors; `width` is that of the operation. */
export const machine = {
  move: (dst: number, src: number): MachineInstruction => ({ opcode: MOVE, dst, src, offset: 0, imm: 0 }),
  move32: (dst: number, src: number): MachineInstruction => ({ opcode: MOVE_32, dst, src, offset: 0, imm: 0 }),
  moveSigned: (dst: number, src: number, bits: 8 | 16 | 32): MachineInstruction => ({
    opcode: MOVE,
    dst,
    src,
    offset: bits,
    imm: 0,
  }),
  /** The shortest load of a 64-bit pattern. */
  constant(dst: number, value: bigint): MachineInstruction {
    const signed = BigInt.asIntN(32, value);
    if (BigInt.asUintN(64, signed) === value) return { opcode: MOVE_IMM, dst, src: 0, offset: 0, imm: Number(signed) };
    if (value < 1n << 32n) return { opcode: MOVE_IMM_32, dst, src: 0, offset: 0, imm: Number(signed) };
    return { opcode: WIDE_LOAD, dst, src: WideSource.value, offset: 0, imm: 0, wide: value };
  },
  wide(dst: number, reference: Reference): MachineInstruction {
    const src = reference.kind === "map" ? WideSource.mapFd : WideSource.mapValue;
    return { opcode: WIDE_LOAD, dst, src, offset: 0, imm: 0, reference };
  },
  alu: (op: Alu, width: 32 | 64, dst: number, src: number): MachineInstruction => ({
    opcode: (width === 32 ? InstructionClass.alu32 : InstructionClass.alu64) | AluOp[op] | Source.reg,
    dst,
    src,
    offset: 0,
    imm: 0,
  }),
  aluImm: (op: Alu, width: 32 | 64, dst: number, imm: number): MachineInstruction => ({
    opcode: (width === 32 ? InstructionClass.alu32 : InstructionClass.alu64) | AluOp[op] | Source.imm,
    dst,
    src: 0,
    offset: 0,
    imm,
  }),
  negate: (dst: number): MachineInstruction => ({
    opcode: InstructionClass.alu64 | AluOp.neg,
    dst,
    src: 0,
    offset: 0,
    imm: 0,
  }),
  /** Big-endian <-> host order. */
  swap: (dst: number, bits: number): MachineInstruction => ({
    opcode: InstructionClass.alu32 | AluOp.end | Source.reg,
    dst,
    src: 0,
    offset: 0,
    imm: bits,
  }),
  load: (size: Size, dst: number, base: number, offset: number): MachineInstruction => ({
    opcode: InstructionClass.ldx | Mode.mem | SizeCode[size],
    dst,
    src: base,
    offset,
    imm: 0,
  }),
  store: (size: Size, base: number, offset: number, src: number): MachineInstruction => ({
    opcode: InstructionClass.stx | Mode.mem | SizeCode[size],
    dst: base,
    src,
    offset,
    imm: 0,
  }),
  storeImm: (size: Size, base: number, offset: number, imm: number): MachineInstruction => ({
    opcode: InstructionClass.st | Mode.mem | SizeCode[size],
    dst: base,
    src: 0,
    offset,
    imm,
  }),
  atomicAdd: (size: 4 | 8, base: number, offset: number, src: number): MachineInstruction => ({
    opcode: InstructionClass.stx | Mode.atomic | SizeCode[size],
    dst: base,
    src,
    offset,
    imm: AluOp.add,
  }),
  /** Adds `dst` to memory; it becomes the value before. */
  fetchAdd: (size: 4 | 8, dst: number, base: number, offset: number): MachineInstruction => ({
    opcode: EXCHANGED | InstructionClass.stx | Mode.atomic | SizeCode[size],
    dst,
    src: base,
    offset,
    imm: Atomic.add | Atomic.fetch,
  }),
  /** Writes `src` to memory that holds r0, which becomes the value before. */
  compareExchange: (size: 4 | 8, base: number, offset: number, src: number): MachineInstruction => ({
    opcode: COMPARED | InstructionClass.stx | Mode.atomic | SizeCode[size],
    dst: base,
    src,
    offset,
    imm: Atomic.cmpxchg,
  }),
  call: (helper: number, argumentCount: number): MachineInstruction => ({
    opcode: CALL,
    dst: 0,
    src: 0,
    offset: 0,
    imm: helper,
    argumentCount,
  }),
  /** A function of the kernel, which the loader numbers. */
  callKernel: (name: string, argumentCount: number): MachineInstruction => ({
    opcode: CALL,
    dst: 0,
    src: KERNEL_FUNCTION,
    offset: 0,
    imm: 0,
    argumentCount,
    reference: { kind: "function", name },
  }),
  jump: (op: JumpOpName, width: 32 | 64, dst: number, src: number): MachineInstruction => ({
    opcode: (width === 32 ? InstructionClass.jump32 : InstructionClass.jump64) | JumpOp[op] | Source.reg,
    dst,
    src,
    offset: 0,
    imm: 0,
  }),
  jumpImm: (op: JumpOpName, width: 32 | 64, dst: number, imm: number): MachineInstruction => ({
    opcode: (width === 32 ? InstructionClass.jump32 : InstructionClass.jump64) | JumpOp[op] | Source.imm,
    dst,
    src: 0,
    offset: 0,
    imm,
  }),
};

/** How an instruction treats its fields: bits of `Effect`. */
export const Effect = { readsDst: 1, readsSrc: 2, writesDst: 4, call: 8, effectful: 16, changesR0: 32 } as const;

function effectOf(opcode: number): number {
  if (opcode & COMPARED) return Effect.readsDst | Effect.readsSrc | Effect.changesR0 | Effect.effectful;
  if (opcode & EXCHANGED) return Effect.readsDst | Effect.writesDst | Effect.readsSrc | Effect.effectful;
  const bySource = opcode & Source.reg ? Effect.readsSrc : 0;
  switch (opcode & 7) {
    case InstructionClass.alu32:
    case InstructionClass.alu64: {
      const op = opcode & 0xf0;
      if (op === AluOp.mov) return Effect.writesDst | bySource;
      if (op === AluOp.neg || op === AluOp.end) return Effect.readsDst | Effect.writesDst;
      return Effect.readsDst | Effect.writesDst | bySource;
    }
    case InstructionClass.ld:
      return Effect.writesDst;
    case InstructionClass.ldx:
      return Effect.writesDst | Effect.readsSrc;
    case InstructionClass.st:
      return Effect.readsDst | Effect.effectful;
    case InstructionClass.stx:
      return Effect.readsDst | Effect.readsSrc | Effect.effectful;
    default:
      if (opcode === CALL) return Effect.call | Effect.effectful;
      if (opcode === EXIT || opcode === GOTO) return Effect.effectful;
      return Effect.readsDst | bySource | Effect.effectful;
  }
}

/** `Effect` bits by opcode. */
export const effects: Uint8Array = Uint8Array.from({ length: 2 * COMPARED }, (_, opcode) => effectOf(opcode));

/** A plain copy from register to register, which vanishes when both become one. */
export function isCopy(instruction: MachineInstruction): boolean {
  return instruction.opcode === MOVE && instruction.offset === 0;
}

export function successorsOf(block: MachineBlock): MachineBlock[] {
  const successors = block.condition ? [block.taken!] : [];
  if (block.otherwise) successors.push(block.otherwise);
  return successors;
}
