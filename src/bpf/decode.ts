/** Bytes to instructions (RFC 9669, section 3), refusing what is not an instruction. */
import type { Instruction } from "./instruction.ts";
import {
  AluOp,
  Atomic,
  Control,
  InstructionClass,
  JumpOp,
  Mode,
  SLOT_SIZE,
  SizeCode,
  Source,
  WIDE_LOAD,
} from "./opcodes.ts";

/** Bytes that are no program. */
export class DecodeError extends Error {
  /** The slot at which decoding failed. */
  readonly slot: number;
  constructor(slot: number, reason: string) {
    super(`Cannot decode slot ${slot}: ${reason}`);
    this.name = "DecodeError";
    this.slot = slot;
  }
}

const knownOpcodes = new Set<number>([
  WIDE_LOAD,
  InstructionClass.jump64 | Control.call,
  InstructionClass.jump64 | Control.exit,
]);
for (const width of [InstructionClass.alu32, InstructionClass.alu64]) {
  for (const op of Object.values(AluOp)) {
    for (const source of Object.values(Source)) {
      if (op === AluOp.neg && source === Source.reg) continue;
      if (op === AluOp.end && source === Source.reg && width === InstructionClass.alu64) continue;
      knownOpcodes.add(width | op | source);
    }
  }
}
for (const width of [InstructionClass.jump64, InstructionClass.jump32]) {
  knownOpcodes.add(width | Control.always);
  for (const op of Object.values(JumpOp)) {
    for (const source of Object.values(Source)) knownOpcodes.add(width | op | source);
  }
}
for (const size of Object.values(SizeCode)) {
  for (const kind of [InstructionClass.ldx, InstructionClass.st, InstructionClass.stx])
    knownOpcodes.add(kind | Mode.mem | size);
  if (size !== SizeCode[8]) {
    knownOpcodes.add(InstructionClass.ldx | Mode.memSigned | size);
    for (const mode of [Mode.abs, Mode.ind]) knownOpcodes.add(InstructionClass.ld | mode | size);
  }
}
for (const size of [SizeCode[4], SizeCode[8]]) knownOpcodes.add(InstructionClass.stx | Mode.atomic | size);

const atomicOpcodes = new Set<number>(
  [SizeCode[4], SizeCode[8]].map((size) => InstructionClass.stx | Mode.atomic | size),
);
const atomicOperations = new Set<number>([Atomic.xchg, Atomic.cmpxchg]);
for (const op of [Atomic.add, Atomic.or, Atomic.and, Atomic.xor]) atomicOperations.add(op).add(op | Atomic.fetch);

/**
 * Decodes a program. Wide loads keep their 64-bit immediate in `wide`, whatever it means.
 * @throws DecodeError for an unknown operation, a register above r10, or a program that ends within an instruction
 */
export function decode(bytes: Uint8Array): Instruction[] {
  if (bytes.length % SLOT_SIZE !== 0) {
    throw new DecodeError(Math.floor(bytes.length / SLOT_SIZE), "the bytes end within an instruction");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const instructions: Instruction[] = [];
  for (let at = 0; at < bytes.length; at += SLOT_SIZE) {
    const slot = at / SLOT_SIZE;
    const opcode = view.getUint8(at);
    const registers = view.getUint8(at + 1);
    const dst = registers & 0xf;
    const src = registers >> 4;
    const offset = view.getInt16(at + 2, true);
    const imm = view.getInt32(at + 4, true);
    if (!knownOpcodes.has(opcode)) throw new DecodeError(slot, `no operation has the code 0x${opcode.toString(16)}`);
    if (dst > 10 || src > 10) throw new DecodeError(slot, `no register r${Math.max(dst, src)}`);
    if (atomicOpcodes.has(opcode) && !atomicOperations.has(imm)) {
      throw new DecodeError(slot, `no atomic operation has the code 0x${(imm >>> 0).toString(16)}`);
    }
    if (opcode !== WIDE_LOAD) {
      instructions.push({ opcode, dst, src, offset, imm });
      continue;
    }
    at += SLOT_SIZE;
    if (at >= bytes.length) throw new DecodeError(slot, "the second half of a wide load is missing");
    if (view.getUint32(at, true) !== 0)
      throw new DecodeError(slot + 1, "the second half of a wide load has an operation");
    const wide = BigInt(imm >>> 0) | (BigInt(view.getUint32(at + 4, true)) << 32n);
    instructions.push({ opcode, dst, src, offset, imm: 0, wide });
  }
  return instructions;
}
