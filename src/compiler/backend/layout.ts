/** Puts blocks in line, likely paths falling through, and turns their edges into jump offsets. */
import type { Instruction } from "../../bpf/instruction.ts";
import { JumpOp, Source, WIDE_LOAD } from "../../bpf/opcodes.ts";
import { ProgramTooLargeError } from "./errors.ts";
import {
  EXCHANGED,
  OPCODE,
  EXIT,
  GOTO,
  successorsOf,
  type MachineBlock,
  type MachineFunction,
  type MachineInstruction,
} from "./machine.ts";

/** An exit within so few instructions counts as the unlikely side of a branch. */
const SHORT_EXIT = 3;

const inverse: ReadonlyMap<number, number> = new Map(
  (
    [
      ["eq", "ne"],
      ["ugt", "ule"],
      ["uge", "ult"],
      ["sgt", "sle"],
      ["sge", "slt"],
    ] as const
  ).flatMap(([a, b]) => [[JumpOp[a], JumpOp[b]] as const, [JumpOp[b], JumpOp[a]] as const]),
);

/** The finished instructions of an allocated function. */
export function layOut(fn: MachineFunction, name: string): Instruction[] {
  threadJumps(fn);
  const order = orderBlocks(fn.blocks[0]);
  const out: { instruction: MachineInstruction; target?: MachineBlock }[] = [];
  const starts = new Map<MachineBlock, number>();
  let slot = 0;
  const push = (instruction: MachineInstruction, target?: MachineBlock): void => {
    out.push({ instruction, ...(target && { target }) });
    slot += instruction.opcode === WIDE_LOAD ? 2 : 1;
  };
  order.forEach((block, i) => {
    starts.set(block, slot);
    for (const instruction of block.instructions) push(instruction);
    const next = order[i + 1];
    const { condition, taken, otherwise, position } = block;
    const jump = (opcode: number, target?: MachineBlock): void =>
      push({ opcode, dst: 0, src: 0, offset: 0, imm: 0, position }, target);
    if (!condition) {
      if (!otherwise) jump(EXIT);
      else if (otherwise !== next) jump(GOTO, otherwise);
      return;
    }
    const opposite = taken === next ? invert(condition) : undefined;
    if (opposite) push(opposite, otherwise);
    else {
      push(condition, taken);
      if (otherwise !== next) jump(GOTO, otherwise);
    }
  });

  let at = 0;
  return out.map(({ instruction, target }) => {
    at += instruction.opcode === WIDE_LOAD ? 2 : 1;
    const offset = target ? starts.get(target)! - at : instruction.offset;
    if (offset !== (offset << 16) >> 16) throw new ProgramTooLargeError(name, slot);
    const { imm, wide, reference, position } = instruction;
    const isExchanged = (instruction.opcode & EXCHANGED) !== 0;
    const [dst, src] = isExchanged ? [instruction.src, instruction.dst] : [instruction.dst, instruction.src];
    return {
      opcode: instruction.opcode & OPCODE,
      dst,
      src,
      offset,
      imm,
      ...(wide !== undefined && { wide }),
      ...(reference && { reference }),
      ...(position && { position }),
    };
  });
}

function invert(condition: MachineInstruction): MachineInstruction | undefined {
  const opposite = inverse.get(condition.opcode & 0xf0);
  if (opposite === undefined) return undefined;
  return { ...condition, opcode: (condition.opcode & (Source.reg | 0x07)) | opposite };
}

/** Where a jump to `block` ends up. */
function finalTarget(block: MachineBlock): MachineBlock {
  const seen = new Set<MachineBlock>();
  while (block.instructions.length === 0 && !block.condition && block.otherwise && !seen.has(block)) {
    seen.add(block);
    block = block.otherwise;
  }
  return block;
}

/** Jumps to jumps lead to the final target; a branch whose sides meet is none. */
function threadJumps(fn: MachineFunction): void {
  for (const block of fn.blocks) {
    if (block.taken) block.taken = finalTarget(block.taken);
    if (block.otherwise) block.otherwise = finalTarget(block.otherwise);
    if (block.condition && block.taken === block.otherwise) {
      block.condition = undefined;
      block.taken = undefined;
    }
  }
}

/** Blocks after all their forward predecessors, the likely successor of a block right behind it where that is possible. */
function orderBlocks(entry: MachineBlock): MachineBlock[] {
  const { index, waiting } = numberForward(entry);
  const order: MachineBlock[] = [];
  const ready = [entry];
  while (ready.length > 0) {
    const block = ready.pop()!;
    order.push(block);
    const successors = successorsOf(block).filter((next) => index.get(next)! > index.get(block)!);
    if (successors.length === 2 && likelihood(successors[0]) > likelihood(successors[1])) successors.reverse();
    for (const next of successors) {
      const left = waiting.get(next)! - 1;
      waiting.set(next, left);
      if (left === 0) ready.push(next);
    }
  }
  return order;
}

function likelihood(block: MachineBlock): number {
  const leaves = !block.otherwise && block.instructions.length < SHORT_EXIT;
  return leaves ? -1 : block.loopDepth;
}

/** Reverse postorder numbers, and how many edges from lower numbers lead to each block. */
function numberForward(entry: MachineBlock): { index: Map<MachineBlock, number>; waiting: Map<MachineBlock, number> } {
  const postorder: MachineBlock[] = [];
  const seen = new Set([entry]);
  const stack = [{ block: entry, successors: successorsOf(entry) }];
  while (stack.length > 0) {
    const { block, successors } = stack.at(-1)!;
    const next = successors.pop();
    if (!next) {
      postorder.push(block);
      stack.pop();
    } else if (!seen.has(next)) {
      seen.add(next);
      stack.push({ block: next, successors: successorsOf(next) });
    }
  }
  const index = new Map(postorder.reverse().map((block, i) => [block, i]));
  const waiting = new Map<MachineBlock, number>();
  for (const block of postorder) {
    for (const next of successorsOf(block)) {
      if (index.get(next)! > index.get(block)!) waiting.set(next, (waiting.get(next) ?? 0) + 1);
    }
  }
  return { index, waiting };
}
