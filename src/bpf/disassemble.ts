/** Listings in the kernel's own notation (kernel/bpf/disasm.c, bpftool), with labels at jump targets. */
import { slotIndex } from "./encode.ts";
import { helperByNumber } from "./helpers.ts";
import type { Instruction } from "./instruction.ts";
import {
  AluOp,
  Atomic,
  CallSource,
  Control,
  InstructionClass,
  JumpOp,
  Mode,
  Source,
  WIDE_LOAD,
  WideSource,
  bytesOfSizeCode,
} from "./opcodes.ts";

const aluSymbols: Readonly<Record<number, string>> = {
  [AluOp.add]: "+=",
  [AluOp.sub]: "-=",
  [AluOp.mul]: "*=",
  [AluOp.div]: "/=",
  [AluOp.or]: "|=",
  [AluOp.and]: "&=",
  [AluOp.shl]: "<<=",
  [AluOp.lshr]: ">>=",
  [AluOp.mod]: "%=",
  [AluOp.xor]: "^=",
  [AluOp.mov]: "=",
  [AluOp.ashr]: "s>>=",
};

const jumpSymbols: Readonly<Record<number, string>> = {
  [JumpOp.eq]: "==",
  [JumpOp.ugt]: ">",
  [JumpOp.uge]: ">=",
  [JumpOp.test]: "&",
  [JumpOp.ne]: "!=",
  [JumpOp.sgt]: "s>",
  [JumpOp.sge]: "s>=",
  [JumpOp.ult]: "<",
  [JumpOp.ule]: "<=",
  [JumpOp.slt]: "s<",
  [JumpOp.sle]: "s<=",
};

const atomicNames: Readonly<Record<number, string>> = {
  [Atomic.add]: "add",
  [Atomic.or]: "or",
  [Atomic.and]: "and",
  [Atomic.xor]: "xor",
};

function signed(value: number): string {
  return value < 0 ? `${value}` : `+${value}`;
}

function pointer(type: string, base: number, instruction: Instruction): string {
  const { reference } = instruction;
  const offset =
    reference?.kind === "field" ? ` +${reference.struct}.${reference.field}` : ` ${signed(instruction.offset)}`;
  return `*(${type} *)(r${base}${offset})`;
}

/** A number, or what the kernel puts in its place. */
function immediate({ imm, reference }: Instruction): string {
  if (reference?.kind === "type") return `type(${reference.struct})`;
  if (reference?.kind === "bitField") return `${reference.part}(${reference.struct}.${reference.field})`;
  if (reference?.kind !== "fieldOffset") return `${imm}`;
  return `${reference.negative ? "-" : ""}offsetof(${reference.struct}.${reference.field})`;
}

function alu(instruction: Instruction): string {
  const { opcode, dst, src, offset, imm } = instruction;
  const wide = (opcode & 7) === InstructionClass.alu64;
  const register = wide ? "r" : "w";
  const op = opcode & 0xf0;
  if (op === AluOp.neg) return `${register}${dst} = -${register}${dst}`;
  if (op === AluOp.end) {
    const order = wide ? "bswap" : (opcode & Source.reg) !== 0 ? "be" : "le";
    return `r${dst} = ${order}${imm} r${dst}`;
  }
  const operand = (opcode & Source.reg) !== 0 ? `${register}${src}` : immediate(instruction);
  if (op === AluOp.mov && offset !== 0) return `${register}${dst} = (s${offset})${register}${src}`;
  const signedPrefix = offset === 1 && (op === AluOp.div || op === AluOp.mod) ? "s" : "";
  return `${register}${dst} ${signedPrefix}${aluSymbols[op]} ${operand}`;
}

/** How far a jump or a call of a function goes, in slots from the next instruction; undefined for anything else. */
export function jumpDistance({ opcode, src, offset, imm }: Instruction): number | undefined {
  const kind = opcode & 7;
  if (kind !== InstructionClass.jump64 && kind !== InstructionClass.jump32) return undefined;
  const op = opcode & 0xf0;
  if (op === Control.exit) return undefined;
  if (op === Control.call) return src === CallSource.function ? imm : undefined;
  return op === Control.always && kind === InstructionClass.jump32 ? imm : offset;
}

function jump(instruction: Instruction, label: string | undefined): string {
  const { opcode, dst, src, imm, reference } = instruction;
  const op = opcode & 0xf0;
  if (op === Control.exit) return "exit";
  if (op === Control.call && src !== CallSource.function) {
    if (reference?.kind === "function") return `call ${reference.name}`;
    if (src === CallSource.kernelFunction) return `call kernel-function#${imm}`;
    return `call ${helperByNumber(imm)?.name ?? "helper"}#${imm}`;
  }
  const target = label ?? signed(jumpDistance(instruction)!);
  if (op === Control.call) return `call ${label ?? `pc${target}`}`;
  const narrow = (opcode & 7) === InstructionClass.jump32;
  if (op === Control.always) return `${narrow ? "gotol" : "goto"} ${target}`;
  const register = narrow ? "w" : "r";
  const operand = (opcode & Source.reg) !== 0 ? `${register}${src}` : `${imm}`;
  return `if ${register}${dst} ${jumpSymbols[op]} ${operand} goto ${target}`;
}

function atomic(instruction: Instruction): string {
  const { opcode, dst, src, imm } = instruction;
  const bytes = bytesOfSizeCode[opcode & 0x18];
  const value = `${bytes === 4 ? "w" : "r"}${src}`;
  const memory = pointer(`u${bytes * 8}`, dst, instruction);
  const address = memory.slice(1);
  const width = bytes === 8 ? "64" : "";
  if (imm === Atomic.xchg) return `${value} = atomic${width}_xchg(${address}, ${value})`;
  if (imm === Atomic.cmpxchg) {
    const r0 = bytes === 4 ? "w0" : "r0";
    return `${r0} = atomic${width}_cmpxchg(${address}, ${r0}, ${value})`;
  }
  const plain = imm & ~Atomic.fetch;
  if ((imm & Atomic.fetch) !== 0) return `${value} = atomic${width}_fetch_${atomicNames[plain]}(${address}, ${value})`;
  return `lock ${memory} ${aluSymbols[plain]} ${value}`;
}

function wideLoad({ dst, src, imm, wide, reference }: Instruction): string {
  if (reference?.kind === "map") return `r${dst} = map[${reference.map}] ll`;
  if (reference?.kind === "mapValue") return `r${dst} = map[${reference.map}][0]+${reference.offset} ll`;
  const value = wide ?? BigInt(imm);
  const low = value & 0xffff_ffffn;
  if (src === WideSource.mapFd) return `r${dst} = map[fd:${low}] ll`;
  if (src === WideSource.mapValue) return `r${dst} = map[fd:${low}][0]+${value >> 32n} ll`;
  return `r${dst} = 0x${BigInt.asUintN(64, value).toString(16)} ll`;
}

/** One instruction as text; `label` replaces the distance of a jump. */
export function disassembleInstruction(instruction: Instruction, label?: string): string {
  const { opcode, dst, src, imm } = instruction;
  const type = `u${(bytesOfSizeCode[opcode & 0x18] ?? 0) * 8}`;
  switch (opcode & 7) {
    case InstructionClass.alu32:
    case InstructionClass.alu64:
      return alu(instruction);
    case InstructionClass.jump32:
    case InstructionClass.jump64:
      return jump(instruction, label);
    case InstructionClass.ldx: {
      const signedLoad = (opcode & 0xe0) === Mode.memSigned;
      return `r${dst} = ${pointer(signedLoad ? type.replace("u", "s") : type, src, instruction)}`;
    }
    case InstructionClass.st:
      return `${pointer(type, dst, instruction)} = ${imm}`;
    case InstructionClass.stx:
      if ((opcode & 0xe0) === Mode.atomic) return atomic(instruction);
      return `${pointer(type, dst, instruction)} = r${src}`;
    default:
      if (opcode === WIDE_LOAD) return wideLoad(instruction);
      return `r0 = *(${type} *)skb[${(opcode & 0xe0) === Mode.ind ? `r${src} + ` : ""}${imm}]`;
  }
}

export interface ListingOptions {
  /** Shows the source line, as a comment, wherever it changes. */
  readonly source?: boolean;
}

/**
 * A whole program: one line each, with the slot number as the kernel's log shows it, and `L<slot>:` at jump targets (a
 * jump out of the program keeps its distance).
 */
export function disassemble(instructions: readonly Instruction[], options: ListingOptions = {}): string {
  const starts = slotIndex(instructions);
  const known = new Set(starts);
  const targets = new Set<number>();
  const target = (index: number): number | undefined => {
    const distance = jumpDistance(instructions[index]);
    if (distance === undefined) return undefined;
    const slot = starts[index + 1] + distance;
    return known.has(slot) ? slot : undefined;
  };
  instructions.forEach((_, index) => {
    const slot = target(index);
    if (slot !== undefined) targets.add(slot);
  });
  const width = String(starts[starts.length - 1]).length;
  const lines: string[] = [];
  let shown = "";
  instructions.forEach((instruction, index) => {
    const slot = starts[index];
    if (targets.has(slot)) lines.push(`L${slot}:`);
    const { position } = instruction;
    if (options.source && position) {
      const comment = `; ${position.text.trim()} @ ${position.file}:${position.line}`;
      if (comment !== shown) lines.push(comment);
      shown = comment;
    }
    const to = target(index);
    const text = disassembleInstruction(instruction, to === undefined ? undefined : `L${to}`);
    lines.push(`${String(slot).padStart(width + 2)}: ${text}`);
  });
  const end = starts[starts.length - 1];
  if (targets.has(end)) lines.push(`L${end}:`);
  return lines.map((line) => `${line}\n`).join("");
}
