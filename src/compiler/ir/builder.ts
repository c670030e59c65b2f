/**
 * Builds IR in SSA form while a source is walked once: variables are read and written by key, and block parameters appear
 * where control flow joins (M. Braun et al., "Simple and Efficient Construction of Static Single Assignment Form", 2013).
 */
import type { SourcePosition } from "../../bpf/instruction.ts";
import {
  int32,
  int64,
  nothing,
  pointer,
  type BinaryFn,
  type Block,
  type CompareFn,
  type Edge,
  type IrFunction,
  type KernelField,
  type KernelNumber,
  type Memory,
  type MemorySize,
  type Op,
  type Terminator,
  type Type,
  type Value,
} from "./ir.ts";

/** A source variable: anything with an identity and a type. */
export interface Variable {
  readonly name: string;
  readonly type: Type;
}

/** N things, so that destructuring knows they are there. */
type Tuple<T, N extends number, Have extends T[] = []> = Have["length"] extends N ? Have : Tuple<T, N, [...Have, T]>;

export class Builder {
  readonly function: IrFunction;
  #nextValue = 0;
  #nextBlock = 0;
  #current: Block;
  /** The source position given to values made from now on. */
  position: SourcePosition | undefined;
  readonly #definitions = new Map<Block, Map<Variable, Value>>();
  readonly #predecessors = new Map<Block, Edge[]>();
  readonly #predecessorBlocks = new Map<Block, Block[]>();
  readonly #sealed = new Set<Block>();
  readonly #abandoned = new Set<Block>();
  readonly #incomplete = new Map<Block, Map<Variable, Value>>();

  constructor(name: string) {
    const entry = this.#makeBlock();
    this.function = { name, entry, blocks: [entry] };
    this.#current = entry;
    this.seal(entry);
  }

  #makeBlock(): Block {
    const block: Block = { id: this.#nextBlock++, parameters: [], values: [], terminator: undefined };
    this.#predecessors.set(block, []);
    this.#predecessorBlocks.set(block, []);
    this.#definitions.set(block, new Map());
    return block;
  }

  /** A new block; not sealed, not current. */
  block(): Block {
    const block = this.#makeBlock();
    this.function.blocks.push(block);
    return block;
  }

  /** Several new blocks at once, to be destructured. */
  blocks<N extends number>(count: N): Tuple<Block, N> {
    return Array.from({ length: count }, () => this.block()) as Tuple<Block, N>;
  }

  /** Whether code made now could be reached: false after a terminator. */
  get reachable(): boolean {
    return this.#current.terminator === undefined && !this.#abandoned.has(this.#current);
  }

  /** Whether any edge leads to `block` so far. */
  isReached(block: Block): boolean {
    return block === this.function.entry || this.#predecessors.get(block)!.length > 0;
  }

  /** Code made from now on cannot be reached: nothing leads here. */
  abandon(): void {
    this.#abandoned.add(this.#current);
  }

  get current(): Block {
    return this.#current;
  }

  /** Goes on in `block`. */
  enter(block: Block): void {
    this.#current = block;
  }

  /** Says that no further predecessor of `block` will appear. */
  seal(block: Block): void {
    this.#sealed.add(block);
    for (const [variable, value] of this.#incomplete.get(block) ?? []) this.#fill(block, variable, value);
    this.#incomplete.delete(block);
  }

  #emit(type: Type, op: Op): Value {
    const value: Value = { id: this.#nextValue++, type, op, ...(this.position && { position: this.position }) };
    if (this.reachable) this.#current.values.push(value);
    return value;
  }

  #edge(to: Block): Edge {
    const edge: Edge = { block: to, args: [] };
    if (this.reachable) {
      this.#predecessors.get(to)!.push(edge);
      this.#predecessorBlocks.get(to)!.push(this.#current);
    }
    return edge;
  }

  #terminate(terminator: Terminator): void {
    if (!this.reachable) return;
    this.#current.terminator = terminator;
    if (this.position) this.#current.terminatorPosition = this.position;
  }

  // Variables

  write(variable: Variable, value: Value): void {
    this.#definitions.get(this.#current)!.set(variable, value);
  }

  read(variable: Variable): Value {
    return this.#readIn(this.#current, variable);
  }

  #readIn(block: Block, variable: Variable): Value {
    const known = this.#definitions.get(block)!.get(variable);
    if (known) return known;
    let value: Value;
    const predecessors = this.#predecessorBlocks.get(block)!;
    if (!this.#sealed.has(block)) {
      value = this.#parameter(block, variable.type);
      let waiting = this.#incomplete.get(block);
      if (!waiting) this.#incomplete.set(block, (waiting = new Map()));
      waiting.set(variable, value);
    } else if (predecessors.length === 1) {
      value = this.#readIn(predecessors[0], variable);
    } else if (predecessors.length === 0) {
      // Only in unreachable code: any value does.
      value = { id: this.#nextValue++, type: variable.type, op: { op: "const", value: 0n } };
      block.values.unshift(value);
    } else {
      value = this.#parameter(block, variable.type);
      this.#definitions.get(block)!.set(variable, value);
      this.#fill(block, variable, value);
    }
    this.#definitions.get(block)!.set(variable, value);
    return value;
  }

  #parameter(block: Block, type: Type): Value {
    const value: Value = { id: this.#nextValue++, type, op: { op: "parameter" } };
    block.parameters.push(value);
    return value;
  }

  #fill(block: Block, variable: Variable, parameter: Value): void {
    const index = block.parameters.indexOf(parameter);
    const edges = this.#predecessors.get(block)!;
    const blocks = this.#predecessorBlocks.get(block)!;
    edges.forEach((edge, i) => {
      edge.args[index] = this.#readIn(blocks[i], variable);
    });
  }

  // Values

  const(value: bigint | number, width: 32 | 64 = 32): Value {
    return this.#emit(width === 32 ? int32 : int64, { op: "const", value: BigInt.asUintN(width, BigInt(value)) });
  }

  context(): Value {
    return this.#emit(pointer("context"), { op: "context" });
  }

  binary(fn: BinaryFn, left: Value, right: Value): Value {
    return this.#emit(left.type, { op: "binary", fn, left, right });
  }

  swap(bits: 16 | 32 | 64, value: Value): Value {
    return this.#emit(bits === 64 ? int64 : int32, { op: "swap", bits, value });
  }

  zeroExtend(value: Value): Value {
    return this.#emit(int64, { op: "zeroExtend", value });
  }

  signExtend(from: 8 | 16 | 32, value: Value): Value {
    return this.#emit(int64, { op: "signExtend", from, value });
  }

  truncate(value: Value): Value {
    return this.#emit(int32, { op: "truncate", value });
  }

  compare(fn: CompareFn, left: Value, right: Value): Value {
    return this.#emit(int32, { op: "compare", fn, left, right });
  }

  /** `as` overrides the result type: context loads of packet pointers, kernel pointers. */
  load(size: MemorySize, base: Value, offset: number, as?: Type, field?: KernelField): Value {
    const type = as ?? (size === 8 ? int64 : int32);
    return this.#emit(type, { op: "load", size, base, offset, ...(field && { field }) });
  }

  /** A load that is never merged with another one; see `fresh` in the IR. */
  loadFresh(size: MemorySize, base: Value, offset: number, as?: Type, field?: KernelField): Value {
    const type = as ?? (size === 8 ? int64 : int32);
    return this.#emit(type, { op: "load", size, base, offset, ...(field && { field }), fresh: true });
  }

  store(size: MemorySize, base: Value, offset: number, value: Value, field?: KernelField): void {
    this.#emit(nothing, { op: "store", size, base, offset, value, ...(field && { field }) });
  }

  atomicAdd(size: 4 | 8, base: Value, offset: number, value: Value): void {
    this.#emit(nothing, { op: "atomicAdd", size, base, offset, value });
  }

  atomicFetchAdd(size: 4 | 8, base: Value, offset: number, value: Value): Value {
    return this.#emit(size === 8 ? int64 : int32, { op: "atomicFetchAdd", size, base, offset, value });
  }

  atomicCompareExchange(size: 4 | 8, base: Value, offset: number, expected: Value, value: Value): Value {
    return this.#emit(size === 8 ? int64 : int32, { op: "atomicCompareExchange", size, base, offset, expected, value });
  }

  pointerAdd(base: Value, by: Value): Value {
    return this.#emit(base.type, { op: "pointerAdd", base, by });
  }

  fieldAddress(base: Value, field: KernelField): Value {
    return this.#emit(base.type, { op: "fieldAddress", base, field });
  }

  /** Of a pointer to a field, the structure that it is in. */
  containerOf(base: Value, field: KernelField): Value {
    return this.#emit(base.type, { op: "fieldAddress", base, field, negative: true });
  }

  kernelNumber(number: KernelNumber): Value {
    return this.#emit(int32, { op: "kernelNumber", number });
  }

  stack(size: number): Value {
    return this.#emit(pointer("stack"), { op: "stack", size });
  }

  map(map: string): Value {
    return this.#emit(pointer("mapHandle"), { op: "map", map });
  }

  mapValue(map: string, offset: number): Value {
    return this.#emit(pointer("map"), { op: "mapValue", map, offset });
  }

  call(helper: number | string, args: readonly Value[], returns: Type, effects: "none" | "memory" | "packet"): Value {
    return this.#emit(returns, { op: "call", helper, args, effects });
  }

  // Terminators

  jump(to: Block): void {
    this.#terminate({ op: "jump", to: this.#edge(to) });
  }

  branch(fn: CompareFn, left: Value, right: Value, then: Block, otherwise: Block): void {
    this.#terminate({ op: "branch", fn, left, right, then: this.#edge(then), otherwise: this.#edge(otherwise) });
  }

  check(base: Value, end: Value, size: number, ok: Block, fail: Block): void {
    this.#terminate({ op: "check", base, end, size, ok: this.#edge(ok), fail: this.#edge(fail) });
  }

  return(value: Value): void {
    this.#terminate({ op: "return", value });
  }

  /** The type of pointers into `memory`. */
  static pointer(memory: Memory, nullable = false): Type {
    return pointer(memory, nullable);
  }
}
