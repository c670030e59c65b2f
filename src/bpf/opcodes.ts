/**
 * The numbers of the instruction set (RFC 9669, sections 3 to 5) as tables, from which constructors, decoder, disassembler
 * and VM derive. An opcode is `class | operation | source` for arithmetic and jumps, `class | mode | size` for memory.
 */

/** The low three bits of an opcode. */
export const InstructionClass = {
  ld: 0x00,
  ldx: 0x01,
  st: 0x02,
  stx: 0x03,
  alu32: 0x04,
  jump64: 0x05,
  jump32: 0x06,
  alu64: 0x07,
} as const;

/** Where the second operand comes from. For byte swaps: `imm` is little-endian, `reg` big-endian. */
export const Source = { imm: 0x00, reg: 0x08 } as const;

/** Arithmetic. Signed division and remainder, and sign-extending moves, share a code and differ in `offset`. */
export const AluOp = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  shl: 0x60,
  lshr: 0x70,
  neg: 0x80,
  mod: 0x90,
  xor: 0xa0,
  mov: 0xb0,
  ashr: 0xc0,
  end: 0xd0,
} as const;
export type AluOpName = keyof typeof AluOp;

/** Conditions of jumps; u is unsigned, s signed; `test` is `dst & src` not zero. */
export const JumpOp = {
  eq: 0x10,
  ugt: 0x20,
  uge: 0x30,
  test: 0x40,
  ne: 0x50,
  sgt: 0x60,
  sge: 0x70,
  ult: 0xa0,
  ule: 0xb0,
  slt: 0xc0,
  sle: 0xd0,
} as const;
export type JumpOpName = keyof typeof JumpOp;

/** The jump-class operations that are no conditional jumps. */
export const Control = { always: 0x00, call: 0x80, exit: 0x90 } as const;

/** Sizes of memory accesses by their number of bytes. */
export const SizeCode = { 1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18 } as const;
export type Size = keyof typeof SizeCode;

/** Number of bytes by size code (`opcode & 0x18`). */
export const bytesOfSizeCode: Readonly<Record<number, Size>> = { 0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8 };

/** How memory is addressed. `abs` and `ind` are the legacy packet loads. */
export const Mode = { imm: 0x00, abs: 0x20, ind: 0x40, mem: 0x60, memSigned: 0x80, atomic: 0xc0 } as const;

/** Atomic operations, in `imm`. Those with a plain form can also fetch the old value into the source register. */
export const Atomic = { add: 0x00, or: 0x40, and: 0x50, xor: 0xa0, fetch: 0x01, xchg: 0xe1, cmpxchg: 0xf1 } as const;
export type AtomicOpName = "add" | "or" | "and" | "xor";

/** What the source register field of a wide load means (include/uapi/linux/bpf.h, BPF_PSEUDO_*). */
export const WideSource = { value: 0, mapFd: 1, mapValue: 2, btfId: 3, function: 4 } as const;

/** What the source register field of a call means. */
export const CallSource = { helper: 0, function: 1, kernelFunction: 2 } as const;

/** The opcode of LD_IMM64, the only instruction of two slots. */
export const WIDE_LOAD = InstructionClass.ld | Mode.imm | SizeCode[8];

/** The read-only frame pointer. */
export const FRAME_POINTER = 10;

/** Bytes of stack a function has. */
export const STACK_SIZE = 512;

/** Bytes of one slot. */
export const SLOT_SIZE = 8;
