/**
 * Register allocation: graph colouring with iterated coalescing of copies (L. George, A. Appel, "Iterated Register
 * Coalescing", 1996). What gets no register lives on the stack, or is made anew where it is needed if that is cheap.
 */
import { StackTooLargeError } from "./errors.ts";
import { Interference } from "./interference.ts";
import { ALLOCATABLE, CLOBBERED, isCopy, type MachineFunction } from "./machine.ts";
import { placeSlots } from "./slots.ts";
import { Spiller, type SpilledClass } from "./spill.ts";

const STACK_BYTES = 512;

/** Gives every virtual register a machine register, in place, and drops copies of a register to itself. */
export function allocate(fn: MachineFunction, name: string): void {
  const spiller = new Spiller(fn);
  for (;;) {
    const colouring = new Colouring(new Interference(fn, spiller.temporaries));
    const spilled = colouring.run();
    if (spilled.length === 0) {
      colouring.apply(fn);
      break;
    }
    spiller.spill(colouring.merge(fn, spilled));
  }
  placeSlots(fn, spiller.slotCount);
  if (fn.stackSize > STACK_BYTES) throw new StackTooLargeError(name, fn.stackSize);
}

/** Where a node of the graph is on its way; the numbers are arbitrary. */
const State = { simplify: 1, freeze: 2, spill: 3, stacked: 4, coalesced: 5 } as const;
/** Where a copy is on its way. */
const CopyState = { waiting: 0, ready: 1, done: 2 } as const;

class Colouring {
  readonly #graph: Interference;
  readonly #state: Uint8Array;
  readonly #degree: Uint32Array;
  readonly #alias: Int32Array;
  readonly #colour: Int8Array;
  readonly #copyState: Uint8Array;
  readonly #simplify: number[] = [];
  readonly #freeze: number[] = [];
  readonly #spillCandidates = new Set<number>();
  readonly #readyCopies: number[] = [];
  readonly #stack: number[] = [];
  readonly #mark: Uint32Array;
  #stamp = 0;

  constructor(graph: Interference) {
    this.#graph = graph;
    const count = graph.count;
    this.#state = new Uint8Array(count);
    this.#degree = new Uint32Array(count);
    this.#alias = Int32Array.from({ length: count }, (_, i) => i);
    this.#colour = new Int8Array(count).fill(-1);
    this.#mark = new Uint32Array(count);
    this.#copyState = new Uint8Array(graph.copies.length).fill(CopyState.ready);
  }

  /** The registers to spill; none when all have got a colour. */
  run(): number[] {
    const graph = this.#graph;
    for (let r = 0; r < ALLOCATABLE; r++) {
      this.#colour[r] = r;
      this.#degree[r] = 0x7fff_ffff;
    }
    graph.copies.forEach((_, i) => this.#readyCopies.push(i));
    for (const node of graph.nodes) {
      this.#degree[node] = graph.neighbours[node].length;
      this.#enlist(node);
    }
    for (;;) {
      let item: number | undefined;
      if ((item = this.#simplify.pop()) !== undefined) {
        if (this.#state[item] === State.simplify) this.#simplifyNode(item);
      } else if ((item = this.#readyCopies.pop()) !== undefined) {
        if (this.#copyState[item] === CopyState.ready) this.#coalesce(item);
      } else if ((item = this.#freeze.pop()) !== undefined) {
        if (this.#state[item] === State.freeze) this.#giveUpCopies(item);
      } else if (this.#spillCandidates.size > 0) {
        item = this.#cheapestToSpill();
        this.#spillCandidates.delete(item);
        this.#state[item] = State.simplify;
        this.#simplify.push(item);
        this.#freezeCopies(item);
      } else break;
    }
    return this.#assign();
  }

  /** Writes the colours into the instructions. */
  apply(fn: MachineFunction): void {
    rename(fn, (register) => (register <= ALLOCATABLE ? register : this.#colour[this.#find(register)]));
  }

  /** Makes one register of those that were coalesced with one of `spilled`, so that they share its slot. */
  merge(fn: MachineFunction, spilled: readonly number[]): SpilledClass[] {
    const classes = new Map(spilled.map((register): [number, number[]] => [register, []]));
    for (const node of this.#graph.nodes) classes.get(this.#find(node))?.push(node);
    rename(fn, (register) => {
      if (register <= ALLOCATABLE) return register;
      const representative = this.#find(register);
      return classes.has(representative) ? representative : register;
    });
    return [...classes].map(([register, members]) => ({ register, members }));
  }

  #enlist(node: number): void {
    if (this.#degree[node] >= ALLOCATABLE) {
      this.#state[node] = State.spill;
      this.#spillCandidates.add(node);
    } else if (this.#hasOpenCopies(node)) {
      this.#state[node] = State.freeze;
      this.#freeze.push(node);
    } else {
      this.#state[node] = State.simplify;
      this.#simplify.push(node);
    }
  }

  #hasOpenCopies(node: number): boolean {
    return this.#graph.copiesOf[node].some((copy) => this.#copyState[copy] !== CopyState.done);
  }

  #isGone(node: number): boolean {
    return this.#state[node] === State.stacked || this.#state[node] === State.coalesced;
  }

  #simplifyNode(node: number): void {
    this.#state[node] = State.stacked;
    this.#stack.push(node);
    for (const other of this.#graph.neighbours[node]) if (!this.#isGone(other)) this.#lowerDegree(other);
  }

  #lowerDegree(node: number): void {
    if (node < ALLOCATABLE) return;
    if (this.#degree[node]-- !== ALLOCATABLE) return;
    this.#readyCopiesOf(node);
    for (const other of this.#graph.neighbours[node]) if (!this.#isGone(other)) this.#readyCopiesOf(other);
    if (this.#state[node] !== State.spill) return;
    this.#spillCandidates.delete(node);
    this.#enlist(node);
  }

  #readyCopiesOf(node: number): void {
    for (const copy of this.#graph.copiesOf[node]) {
      if (this.#copyState[copy] !== CopyState.waiting) continue;
      this.#copyState[copy] = CopyState.ready;
      this.#readyCopies.push(copy);
    }
  }

  #find(node: number): number {
    while (this.#alias[node] !== node) node = this.#alias[node]!;
    return node;
  }

  #coalesce(copy: number): void {
    const { to, from } = this.#graph.copies[copy];
    let u = this.#find(to);
    let v = this.#find(from);
    if (v < ALLOCATABLE) [u, v] = [v, u];
    if (u === v) {
      this.#copyState[copy] = CopyState.done;
      this.#reconsider(u);
    } else if (v < ALLOCATABLE || this.#graph.interferes(u, v)) {
      this.#copyState[copy] = CopyState.done;
      this.#reconsider(u);
      this.#reconsider(v);
    } else if (u < ALLOCATABLE ? this.#fitsMachineRegister(u, v) : this.#isConservative(u, v)) {
      this.#copyState[copy] = CopyState.done;
      this.#combine(u, v);
      this.#reconsider(u);
    } else this.#copyState[copy] = CopyState.waiting;
  }

  #reconsider(node: number): void {
    if (node < ALLOCATABLE || this.#state[node] !== State.freeze) return;
    if (this.#hasOpenCopies(node)) return;
    this.#state[node] = State.simplify;
    this.#simplify.push(node);
  }

  /** Every neighbour of `node` either is no obstacle or interferes with the machine register anyway. */
  #fitsMachineRegister(machine: number, node: number): boolean {
    return this.#graph.neighbours[node].every(
      (other) =>
        this.#isGone(other) ||
        other < ALLOCATABLE ||
        this.#degree[other] < ALLOCATABLE ||
        this.#graph.interferes(other, machine),
    );
  }

  /** The combined node would have fewer neighbours of high degree than there are registers. */
  #isConservative(u: number, v: number): boolean {
    const stamp = ++this.#stamp;
    let heavy = 0;
    for (const node of [u, v]) {
      for (const other of this.#graph.neighbours[node]) {
        if (this.#isGone(other) || this.#mark[other] === stamp) continue;
        this.#mark[other] = stamp;
        let degree = this.#degree[other];
        if (degree === ALLOCATABLE && this.#graph.interferes(other, u) && this.#graph.interferes(other, v)) degree--;
        if (degree >= ALLOCATABLE && ++heavy >= ALLOCATABLE) return false;
      }
    }
    return true;
  }

  #combine(u: number, v: number): void {
    const graph = this.#graph;
    this.#spillCandidates.delete(v);
    this.#state[v] = State.coalesced;
    this.#alias[v] = u;
    graph.spillCost[u] = sumOfCosts(graph.spillCost[u], graph.spillCost[v]);
    graph.copiesOf[u].push(...graph.copiesOf[v]);
    this.#readyCopiesOf(v);
    for (const other of graph.neighbours[v]) {
      if (this.#isGone(other)) continue;
      // The neighbour loses v; if it did not know u yet, it gets that instead.
      if (graph.add(other, u)) {
        if (u >= ALLOCATABLE) this.#degree[u]++;
        if (other >= ALLOCATABLE) this.#degree[other]++;
      }
      this.#lowerDegree(other);
    }
    if (u >= ALLOCATABLE && this.#degree[u] >= ALLOCATABLE && this.#state[u] === State.freeze) {
      this.#state[u] = State.spill;
      this.#spillCandidates.add(u);
    }
  }

  #giveUpCopies(node: number): void {
    this.#state[node] = State.simplify;
    this.#simplify.push(node);
    this.#freezeCopies(node);
  }

  #freezeCopies(node: number): void {
    for (const copy of this.#graph.copiesOf[node]) {
      if (this.#copyState[copy] === CopyState.done) continue;
      this.#copyState[copy] = CopyState.done;
      const { to, from } = this.#graph.copies[copy];
      const a = this.#find(to);
      const other = a === this.#find(node) ? this.#find(from) : a;
      if (this.#degree[other] < ALLOCATABLE) this.#reconsider(other);
    }
  }

  #cheapestToSpill(): number {
    let best = -1;
    let bestCost = Infinity;
    for (const node of this.#spillCandidates) {
      const cost = this.#graph.spillCost[node] / this.#degree[node];
      if (best === -1 || cost < bestCost) [best, bestCost] = [node, cost];
    }
    return best;
  }

  #assign(): number[] {
    const spilled: number[] = [];
    const used = new Set<number>();
    while (this.#stack.length > 0) {
      const node = this.#stack.pop()!;
      let taken = 0;
      for (const other of this.#graph.neighbours[node]) {
        const colour = this.#colour[this.#find(other)];
        if (colour >= 0) taken |= 1 << colour;
      }
      const colour = this.#choose(node, taken, used);
      if (colour === -1) spilled.push(node);
      else this.#colour[node] = colour;
    }
    return spilled;
  }

  /** A free register: that of the other end of a copy if possible, else one the JIT need not save, else any. */
  #choose(node: number, taken: number, used: Set<number>): number {
    for (const copy of this.#graph.copiesOf[node]) {
      const { to, from } = this.#graph.copies[copy];
      for (const end of [to, from]) {
        const colour = this.#colour[this.#find(end)];
        if (colour >= 0 && !(taken & (1 << colour)) && (colour < CLOBBERED || used.has(colour))) return colour;
      }
    }
    for (let colour = 0; colour < ALLOCATABLE; colour++) {
      if (taken & (1 << colour)) continue;
      if (colour >= CLOBBERED) used.add(colour);
      return colour;
    }
    return -1;
  }
}

/** What was made by spilling must not be spilled again, unless it has become part of something else. */
function sumOfCosts(a: number, b: number): number {
  if (a === Infinity) return b;
  return b === Infinity ? a : a + b;
}

/** Renames registers and drops copies of a register to itself. */
function rename(fn: MachineFunction, nameOf: (register: number) => number): void {
  for (const block of fn.blocks) {
    let kept = 0;
    for (const instruction of block.instructions) {
      instruction.dst = nameOf(instruction.dst);
      instruction.src = nameOf(instruction.src);
      if (!isCopy(instruction) || instruction.dst !== instruction.src) block.instructions[kept++] = instruction;
    }
    block.instructions.length = kept;
    if (!block.condition) continue;
    block.condition.dst = nameOf(block.condition.dst);
    block.condition.src = nameOf(block.condition.src);
  }
}
