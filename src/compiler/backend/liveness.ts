/** Which registers hold a value that is still needed, at the end of each block. */
import { CLOBBERED, Effect, effects, successorsOf, type MachineBlock, type MachineFunction } from "./machine.ts";

/** Calls `f` with each bit set in `words[from..from + count)`. */
export function forEachBit(words: Uint32Array, from: number, count: number, f: (bit: number) => void): void {
  for (let w = 0; w < count; w++) {
    let word = words[from + w];
    while (word !== 0) {
      const low = word & -word;
      f(w * 32 + 31 - Math.clz32(low));
      word ^= low;
    }
  }
}

export interface Liveness {
  /** Words of 32 registers a block. */
  readonly words: number;
  /** Blocks' live-out sets one after the other, in the order of `fn.blocks`. */
  readonly liveOut: Uint32Array;
}

export function analyseLiveness(fn: MachineFunction): Liveness {
  const { blocks } = fn;
  const words = (fn.registerCount + 31) >>> 5;
  const indexOf = new Map(blocks.map((block, i) => [block, i]));
  const uses = new Uint32Array(words * blocks.length);
  const definitions = new Uint32Array(words * blocks.length);
  const liveIn = new Uint32Array(words * blocks.length);
  const liveOut = new Uint32Array(words * blocks.length);

  blocks.forEach((block, b) => {
    const base = b * words;
    const read = (register: number): void => {
      const word = base + (register >>> 5);
      const bit = 1 << (register & 31);
      if (!(definitions[word] & bit)) uses[word] |= bit;
    };
    const write = (register: number): void => {
      definitions[base + (register >>> 5)] |= 1 << (register & 31);
    };
    for (const instruction of block.instructions) {
      const effect = effects[instruction.opcode];
      if (effect & Effect.readsSrc) read(instruction.src);
      if (effect & Effect.readsDst) read(instruction.dst);
      if (effect & Effect.writesDst) write(instruction.dst);
      if (effect & Effect.changesR0) {
        read(0);
        write(0);
      }
      if (effect & Effect.call) {
        for (let r = 1; r <= instruction.argumentCount!; r++) read(r);
        for (let r = 0; r < CLOBBERED; r++) write(r);
      }
    }
    readByEnd(block, read);
    liveIn.set(uses.subarray(base, base + words), base);
  });

  const successors = blocks.map((block) => successorsOf(block).map((next) => indexOf.get(next)! * words));
  const predecessors: number[][] = blocks.map(() => []);
  successors.forEach((nexts, b) => nexts.forEach((next) => predecessors[next / words].push(b)));
  const work = blocks.map((_, b) => b);
  const queued = new Uint8Array(blocks.length).fill(1);
  while (work.length > 0) {
    const b = work.pop()!;
    queued[b] = 0;
    const base = b * words;
    let changed = false;
    for (let w = 0; w < words; w++) {
      let out = 0;
      for (const next of successors[b]) out |= liveIn[next + w];
      liveOut[base + w] = out;
      const into = (uses[base + w] | (out & ~definitions[base + w])) >>> 0;
      if (into !== liveIn[base + w]) {
        liveIn[base + w] = into;
        changed = true;
      }
    }
    if (!changed) continue;
    for (const p of predecessors[b]) {
      if (queued[p]) continue;
      queued[p] = 1;
      work.push(p);
    }
  }
  return { words, liveOut };
}

/** The registers that a block's conditional jump or exit reads. */
export function readByEnd(block: MachineBlock, read: (register: number) => void): void {
  const { condition } = block;
  if (condition) {
    read(condition.dst);
    if (effects[condition.opcode] & Effect.readsSrc) read(condition.src);
  } else if (!block.otherwise) read(0);
}
