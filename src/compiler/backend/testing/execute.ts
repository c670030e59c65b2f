/** Runs emitted instructions over flat memory, in a straightforward way. */
import type { Instruction } from "../../../bpf/instruction.ts";
import { AluOp, bytesOfSizeCode, Control, InstructionClass, JumpOp, Source, WIDE_LOAD } from "../../../bpf/opcodes.ts";
import { evaluateBinary, evaluateCompare, evaluateSwap } from "../../ir/evaluate.ts";
import type { BinaryFn, CompareFn } from "../../ir/ir.ts";
import { Address, type FlatMemory } from "./memory.ts";

const aluNames = new Map(Object.entries(AluOp).map(([name, code]) => [code as number, name]));
const jumpNames = new Map(Object.entries(JumpOp).map(([name, code]) => [code as number, name]));
const POISON = 0xdead_beef_dead_beefn;

/** What the program returns, 64 bits; registers that a call clobbers get a value nobody can want. */
export function execute(instructions: readonly Instruction[], memory: FlatMemory, maxSteps = 1_000_000): bigint {
  const slots: (Instruction | undefined)[] = instructions.flatMap((i) =>
    i.opcode === WIDE_LOAD ? [i, undefined] : [i],
  );
  const r = Array.from({ length: 11 }, () => POISON);
  r[1] = memory.contextAddress;
  r[10] = BigInt(Address.stack + 1024);
  for (let pc = 0, steps = 0; steps < maxSteps; steps++) {
    const i = slots[pc++];
    if (!i) throw new Error(`No instruction at slot ${pc - 1}`);
    const width = (i.opcode & 7) === InstructionClass.alu32 || (i.opcode & 7) === InstructionClass.jump32 ? 32 : 64;
    const operand = BigInt.asUintN(width, i.opcode & Source.reg ? r[i.src]! : BigInt(i.imm));
    const size = bytesOfSizeCode[i.opcode & 0x18]!;
    switch (i.opcode & 7) {
      case InstructionClass.ld: {
        const { reference } = i;
        if (!reference) r[i.dst] = i.wide!;
        else r[i.dst] = memory.mapAddress() + (reference.kind === "mapValue" ? BigInt(reference.offset) : 0n);
        pc++;
        break;
      }
      case InstructionClass.ldx:
        r[i.dst] = memory.load(r[i.src]! + BigInt(i.offset), size);
        break;
      case InstructionClass.st:
      case InstructionClass.stx: {
        const address = r[i.dst]! + BigInt(i.offset);
        const atomic = (i.opcode & 0xe0) === 0xc0;
        const value = (i.opcode & 7) === InstructionClass.st ? BigInt(i.imm) : r[i.src]!;
        memory.store(address, size, BigInt.asUintN(size * 8, atomic ? memory.load(address, size) + value : value));
        break;
      }
      case InstructionClass.alu32:
      case InstructionClass.alu64: {
        const name = aluNames.get(i.opcode & 0xf0)!;
        const left = BigInt.asUintN(width, r[i.dst]!);
        if (name === "mov") r[i.dst] = i.offset ? BigInt.asUintN(width, BigInt.asIntN(i.offset, operand)) : operand;
        else if (name === "neg") r[i.dst] = BigInt.asUintN(width, -left);
        else if (name === "end") r[i.dst] = evaluateSwap(i.imm as 16 | 32 | 64, r[i.dst]!);
        else r[i.dst] = evaluateBinary(name as BinaryFn, width, left, operand);
        break;
      }
      default: {
        const code = i.opcode & 0xf0;
        if (i.opcode === (InstructionClass.jump64 | Control.exit)) return r[0]!;
        if (i.opcode === (InstructionClass.jump64 | Control.call)) {
          r.fill(POISON, 0, 6);
          r[0] = memory.call();
        } else if (code === Control.always) pc += i.offset;
        else {
          const left = BigInt.asUintN(width, r[i.dst]!);
          if (evaluateCompare(jumpNames.get(code) as CompareFn, width, left, operand)) pc += i.offset;
        }
      }
    }
  }
  throw new Error("The program does not end");
}
