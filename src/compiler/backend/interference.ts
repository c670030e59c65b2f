/** Which registers hold values at the same time and so cannot be one; dead instructions are dropped on the way. */
import { analyseLiveness, forEachBit, readByEnd } from "./liveness.ts";
import {
  ALLOCATABLE,
  CLOBBERED,
  Effect,
  effects,
  FIRST_VIRTUAL,
  isCopy,
  type MachineBlock,
  type MachineFunction,
} from "./machine.ts";

const LOOP_WEIGHT = 10;
const MAX_WEIGHTED_DEPTH = 4;

export class Interference {
  readonly count: number;
  /** Virtual registers in use. */
  readonly nodes: number[] = [];
  readonly neighbours: number[][];
  readonly copies: { readonly to: number; readonly from: number }[] = [];
  /** Register -> indices in `copies`. */
  readonly copiesOf: number[][];
  /** How much a register in memory would cost; endless for those that exist because of a spill. */
  readonly spillCost: Float64Array;
  readonly #matrix: Uint32Array;

  constructor(fn: MachineFunction, unspillable: ReadonlySet<number>) {
    this.count = fn.registerCount;
    this.neighbours = Array.from({ length: this.count }, () => []);
    this.copiesOf = Array.from({ length: this.count }, () => []);
    this.spillCost = new Float64Array(this.count);
    this.#matrix = new Uint32Array((this.count * this.count + 31) >>> 5);
    for (let a = 0; a < ALLOCATABLE; a++) for (let b = 0; b < a; b++) this.add(a, b);

    const seen = new Uint8Array(this.count);
    const { words, liveOut } = analyseLiveness(fn);
    const live = new Uint32Array(words);
    fn.blocks.forEach((block, b) => {
      live.set(liveOut.subarray(b * words, (b + 1) * words));
      this.#scan(block, live, words, seen);
    });
    for (let node = FIRST_VIRTUAL; node < this.count; node++) if (seen[node]) this.nodes.push(node);
    for (const node of unspillable) this.spillCost[node] = Infinity;
  }

  interferes(a: number, b: number): boolean {
    const bit = a < b ? b * this.count + a : a * this.count + b;
    return (this.#matrix[bit >>> 5] & (1 << (bit & 31))) !== 0;
  }

  /** Notes that `a` and `b` interfere; false if that was known. */
  add(a: number, b: number): boolean {
    const bit = a < b ? b * this.count + a : a * this.count + b;
    const mask = 1 << (bit & 31);
    if (this.#matrix[bit >>> 5] & mask) return false;
    this.#matrix[bit >>> 5] |= mask;
    this.neighbours[a].push(b);
    this.neighbours[b].push(a);
    return true;
  }

  #scan(block: MachineBlock, live: Uint32Array, words: number, seen: Uint8Array): void {
    const weight = LOOP_WEIGHT ** Math.min(block.loopDepth, MAX_WEIGHTED_DEPTH);
    const isLive = (r: number): boolean => (live[r >>> 5] & (1 << (r & 31))) !== 0;
    const read = (r: number): void => {
      live[r >>> 5] |= 1 << (r & 31);
      this.spillCost[r] += weight;
      seen[r] = 1;
    };
    const kill = (r: number): void => {
      live[r >>> 5] &= ~(1 << (r & 31));
    };
    const define = (r: number): void => {
      this.spillCost[r] += weight;
      seen[r] = 1;
      forEachBit(live, 0, words, (other) => {
        if (other !== r && other !== ALLOCATABLE) this.add(r, other);
      });
    };
    readByEnd(block, read);
    const { instructions } = block;
    let kept = instructions.length;
    for (let i = instructions.length - 1; i >= 0; i--) {
      const instruction = instructions[i];
      const { dst, src } = instruction;
      const effect = effects[instruction.opcode];
      if (effect & Effect.writesDst && !(effect & Effect.effectful) && !isLive(dst)) continue;
      instructions[--kept] = instruction;
      if (effect & Effect.writesDst) {
        const copies = isCopy(instruction) && src !== ALLOCATABLE;
        if (copies) {
          // Both may share a register: they hold the same value.
          kill(src);
          const index = this.copies.push({ to: dst, from: src }) - 1;
          this.copiesOf[dst].push(index);
          if (src !== dst) this.copiesOf[src].push(index);
        }
        define(dst);
        kill(dst);
      }
      if (effect & Effect.changesR0) {
        define(0);
        read(0);
      }
      if (effect & Effect.call) {
        for (let r = 0; r < CLOBBERED; r++) define(r);
        for (let r = 0; r < CLOBBERED; r++) kill(r);
        for (let r = 1; r <= instruction.argumentCount!; r++) read(r);
      }
      if (effect & Effect.readsDst) read(dst);
      if (effect & Effect.readsSrc) read(src);
    }
    instructions.splice(0, kept);
  }
}
