/** Random, well-formed functions: arithmetic of both widths, branches, counted loops, stack, map, packet and calls. */
import { Builder, type Variable } from "../../ir/builder.ts";
import { int32, int64, pointer, type BinaryFn, type CompareFn, type IrFunction, type Value } from "../../ir/ir.ts";
import { Random } from "./random.ts";

export const MAP = "values";
export const MAP_BYTES = 64;
export const STACK_BYTES = 32;
export const PACKET_BYTES = 64;
/** bpf_ktime_get_ns; tests that compare results stop the clock at 0. */
export const HELPER = 5;
/** Where a sched_cls context (struct __sk_buff) keeps the packet's limits. */
export const DATA_OFFSET = 76;
export const DATA_END_OFFSET = 80;

const binaryFns: readonly BinaryFn[] = [
  "add",
  "sub",
  "mul",
  "div",
  "mod",
  "and",
  "or",
  "xor",
  "shl",
  "lshr",
  "ashr",
] as BinaryFn[];
const compareFns: readonly CompareFn[] = [
  "eq",
  "ne",
  "ult",
  "ule",
  "ugt",
  "uge",
  "slt",
  "sle",
  "sgt",
  "sge",
  "test",
] as CompareFn[];
const interesting = [0n, 1n, 2n, 3n, 4n, 7n, 8n, 31n, 32n, 63n, 0xffn, 0x100n, 0xffffn, 0x7fff_ffffn, 0x8000_0000n];
const wide = [0xffff_ffffn, 1n << 32n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n, (1n << 64n) - 8n];

export interface Shape {
  readonly variables: number;
  readonly statements: number;
  readonly calls: boolean;
  /** The kernel needs to see every loop end soon. */
  readonly maxTrips: number;
}

export function generate(seed: number, shape: Shape): IrFunction {
  return new Generator(seed, shape).run();
}

class Generator {
  readonly #random: Random;
  readonly #builder: Builder;
  readonly #shape: Shape;
  readonly #narrow: Variable[] = [];
  readonly #wide: Variable[] = [];
  #stack!: Value;
  #data!: Value;
  #end!: Value;
  /** Bytes of the packet that may be used where code is made now. */
  #checked = 0;

  constructor(seed: number, shape: Shape) {
    this.#random = new Random(seed);
    this.#builder = new Builder(`random${seed}`);
    this.#shape = shape;
  }

  run(): IrFunction {
    const b = this.#builder;
    const context = b.context();
    this.#data = b.load(4, context, DATA_OFFSET, pointer("packet"));
    this.#end = b.load(4, context, DATA_END_OFFSET, pointer("packetEnd"));
    this.#stack = b.stack(STACK_BYTES);
    for (let i = 0; i < STACK_BYTES; i += 8) b.store(8, this.#stack, i, this.#const(64));
    for (let i = 0; i < this.#shape.variables; i++) {
      const isWide = this.#random.chance(50);
      const variable = { name: `x${i}`, type: isWide ? int64 : int32 };
      (isWide ? this.#wide : this.#narrow).push(variable);
      const start = b.load(isWide ? 8 : 4, b.mapValue(MAP, 0), this.#random.below(MAP_BYTES / 8) * 8);
      b.write(variable, start);
    }
    for (const width of [32, 64] as const) {
      const variables = width === 32 ? this.#narrow : this.#wide;
      const variable = { name: `y${width}`, type: width === 32 ? int32 : int64 };
      b.write(variable, this.#const(width));
      variables.push(variable);
    }
    this.#statements(this.#shape.statements, 2);
    let result = this.#const(64);
    for (const variable of this.#wide) result = b.binary("xor", result, b.read(variable));
    let low = b.truncate(b.binary("add", result, b.binary("lshr", result, b.const(32, 64))));
    for (const variable of this.#narrow) low = b.binary("add", low, b.read(variable));
    b.return(low);
    return b.function;
  }

  #const(width: 32 | 64): Value {
    const random = this.#random;
    const pool = width === 64 && random.chance(40) ? wide : interesting;
    const value = random.chance(70) ? random.pick(pool) : BigInt(random.below(2 ** 32));
    return this.#builder.const(BigInt.asUintN(width, value), width);
  }

  #operand(width: 32 | 64): Value {
    if (this.#random.chance(30)) return this.#const(width);
    return this.#builder.read(this.#random.pick(width === 32 ? this.#narrow : this.#wide));
  }

  #expression(width: 32 | 64, depth = 2): Value {
    const b = this.#builder;
    const random = this.#random;
    if (depth === 0 || random.chance(20)) return this.#operand(width);
    const sub = (w: 32 | 64): Value => this.#expression(w, depth - 1);
    switch (random.below(12)) {
      case 0:
        return width === 64 ? b.zeroExtend(sub(32)) : b.truncate(sub(64));
      case 1:
        return width === 64 ? b.signExtend(random.pick([8, 16, 32]), sub(32)) : b.truncate(sub(64));
      case 2:
        return width === 64 ? b.swap(64, sub(64)) : b.swap(random.pick([16, 32]), sub(32));
      case 3: {
        const bit = this.#compare(random.pick([32, 64]));
        return width === 64 ? b.zeroExtend(bit) : bit;
      }
      case 4:
        return this.#load(width);
      case 5: {
        const variable = b.binary("and", sub(64), b.const(7, 64));
        const byte = b.load(1, this.#advance(variable), random.below(8));
        return width === 64 ? b.zeroExtend(byte) : byte;
      }
      default:
        return b.binary(random.pick(binaryFns), sub(width), sub(width));
    }
  }

  #compare(width: 32 | 64): Value {
    const left = this.#operand(width);
    const right = this.#operand(width);
    return this.#builder.compare(this.#random.pick(compareFns), left, right);
  }

  /** A base with at least `size` bytes behind it. */
  #pointer(size: number): Value {
    const b = this.#builder;
    const choices = [() => this.#stack, () => b.mapValue(MAP, 8 * this.#random.below(2))];
    if (this.#checked >= size) choices.push(() => this.#data);
    return this.#random.pick(choices)();
  }

  /** A pointer `by` 0 to 7 bytes behind one with 16 bytes; of a packet pointer the verifier wants the sum checked. */
  #advance(by: Value): Value {
    const b = this.#builder;
    const base = this.#pointer(16);
    const sum = b.pointerAdd(base, by);
    if (base !== this.#data) return sum;
    const ok = b.block();
    const fail = b.block();
    b.check(sum, this.#end, 8, ok, fail);
    b.seal(ok);
    b.seal(fail);
    b.enter(fail);
    b.return(b.const(1));
    b.enter(ok);
    return sum;
  }

  #load(width: 32 | 64): Value {
    const b = this.#builder;
    const size = width === 64 ? 8 : this.#random.pick([1, 2, 4] as const);
    return b.load(size, this.#pointer(32), this.#random.below(32 / size) * size);
  }

  #statements(count: number, depth: number): void {
    for (let i = 0; i < count && this.#builder.reachable; i++) this.#statement(depth);
  }

  #statement(depth: number): void {
    const b = this.#builder;
    const random = this.#random;
    switch (random.below(depth > 0 ? 12 : 8)) {
      case 0: {
        const size = random.pick([1, 2, 4, 8] as const);
        const value = this.#expression(size === 8 ? 64 : 32);
        b.store(size, this.#pointer(32), random.below(32 / size) * size, value);
        return;
      }
      case 1: {
        const base = b.pointerAdd(this.#pointer(24), b.const(8, 64));
        b.store(4, base, random.below(4) * 4, this.#operand(32));
        return;
      }
      case 2: {
        const size = random.pick([4, 8] as const);
        const base = random.chance(50) ? this.#stack : b.mapValue(MAP, 0);
        const offset = 8 * random.below(4);
        const value = this.#operand(size === 8 ? 64 : 32);
        const result = random.pick(size === 8 ? this.#wide : this.#narrow);
        const which = random.below(3);
        if (which === 0) b.atomicAdd(size, base, offset, value);
        else if (which === 1) b.write(result, b.atomicFetchAdd(size, base, offset, value));
        else {
          // What is there, now and then, so that something is written.
          const expected = random.chance(50) ? b.load(size, base, offset) : this.#operand(size === 8 ? 64 : 32);
          b.write(result, b.atomicCompareExchange(size, base, offset, expected, value));
        }
        return;
      }
      case 3:
        if (this.#shape.calls) {
          b.write(random.pick(this.#narrow), b.truncate(b.call(HELPER, [], int64, random.pick(["none", "memory"]))));
          return;
        }
        break;
      case 8:
      case 9:
        this.#if(depth);
        return;
      case 10:
        this.#loop(depth);
        return;
      case 11:
        this.#check();
        return;
      default:
    }
    const width = random.pick([32, 64] as const);
    const value = this.#expression(width);
    b.write(random.pick(width === 32 ? this.#narrow : this.#wide), value);
  }

  #if(depth: number): void {
    const b = this.#builder;
    const width = this.#random.pick([32, 64] as const);
    const then = b.block();
    const otherwise = b.block();
    const join = b.block();
    if (this.#random.chance(30)) b.branch("ne", this.#compare(width), b.const(0), then, otherwise);
    else b.branch(this.#random.pick(compareFns), this.#operand(width), this.#operand(width), then, otherwise);
    b.seal(then);
    b.seal(otherwise);
    const checked = this.#checked;
    b.enter(then);
    this.#statements(1 + this.#random.below(3), depth - 1);
    if (this.#random.chance(15)) b.return(this.#operand(32));
    b.jump(join);
    this.#checked = checked;
    b.enter(otherwise);
    if (this.#random.chance(50)) this.#statements(1 + this.#random.below(3), depth - 1);
    b.jump(join);
    this.#checked = checked;
    b.seal(join);
    b.enter(join);
  }

  #loop(depth: number): void {
    const b = this.#builder;
    const counter: Variable = { name: "i", type: int32 };
    b.write(counter, b.const(0));
    const head = b.block();
    const body = b.block();
    const exit = b.block();
    b.jump(head);
    b.enter(head);
    b.branch("ult", b.read(counter), b.const(1 + this.#random.below(this.#shape.maxTrips)), body, exit);
    b.seal(body);
    b.enter(body);
    const checked = this.#checked;
    if (this.#random.chance(40)) this.#exchange();
    this.#statements(1 + this.#random.below(3), depth - 1);
    this.#checked = checked;
    b.write(counter, b.binary("add", b.read(counter), b.const(1)));
    b.jump(head);
    b.seal(head);
    b.seal(exit);
    b.enter(exit);
  }

  /** Rotates variables: a cycle in the copies on the loop's edge. */
  #exchange(): void {
    const b = this.#builder;
    const variables = (this.#random.chance(50) ? this.#narrow : this.#wide).slice(0, 4);
    const values = variables.map((variable) => b.read(variable));
    variables.forEach((variable, i) => b.write(variable, values[(i + 1) % values.length]));
  }

  #check(): void {
    const b = this.#builder;
    const size = this.#random.pick([14, 34, 40, 54, 60, 80]);
    const ok = b.block();
    const fail = b.block();
    b.check(this.#data, this.#end, size, ok, fail);
    b.seal(ok);
    b.seal(fail);
    b.enter(fail);
    b.return(b.const(this.#random.below(3)));
    b.enter(ok);
    this.#checked = Math.max(this.#checked, size);
  }
}
