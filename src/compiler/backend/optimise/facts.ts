/** What comparisons and bounds checks on the way to a block have already decided. */
import { negated } from "../../ir/evaluate.ts";
import type { Flow } from "../../ir/flow.ts";
import type { CompareFn, Value } from "../../ir/ir.ts";
import { fullMask, possibleBits } from "./bits.ts";
import { constantOf } from "./simplify.ts";

interface Interval {
  readonly low: bigint;
  readonly high: bigint;
}

type At<T> = T & { readonly block: number };

/** Of a comparison and its opposite one stands for both. */
const basic: ReadonlySet<CompareFn> = new Set(["eq", "ult", "ugt", "slt", "sgt", "test"]);

export class Facts {
  readonly #flow: Flow;
  readonly #outcomes = new Map<string, At<{ holds: boolean }>>();
  readonly #intervals = new Map<number, At<Interval>>();
  readonly #checks = new Map<string, At<{ size: number }>>();
  /** Value id -> blocks at whose beginning the verifier learns something about it. */
  readonly #refined = new Map<number, number[]>();

  constructor(flow: Flow) {
    this.#flow = flow;
  }

  /** In `block` and what it dominates, the comparison is known to hold, or not to. */
  assume(fn: CompareFn, left: Value, right: Value, holds: boolean, block: number): void {
    const { key, flipped } = keyOf(fn, left, right);
    this.#outcomes.set(key, { holds: holds !== flipped, block });
    this.#noteRefined(left, block);
    this.#noteRefined(right, block);
    const constant = constantOf(right);
    if (constant === undefined || left.type.kind !== "int") return;
    const actual = holds ? fn : negated[fn];
    const narrowed = actual && narrow(this.#intervalOf(left, block), actual, constant);
    if (narrowed) this.#intervals.set(left.id, { ...narrowed, block });
  }

  /** Whether the comparison holds in `block`, if that is known. */
  decide(fn: CompareFn, left: Value, right: Value, block: number): boolean | undefined {
    const { key, flipped } = keyOf(fn, left, right);
    const known = this.#outcomes.get(key);
    if (known && this.#flow.dominates(known.block, block)) return known.holds !== flipped;
    const constant = constantOf(right);
    if (constant === undefined || left.type.kind !== "int") return undefined;
    return decideInterval(this.#intervalOf(left, block), fn, constant);
  }

  assumeChecked(base: Value, end: Value, size: number, block: number): void {
    if (this.checkedSize(base, end, block) < size) this.#checks.set(`${base.id},${end.id}`, { size, block });
  }

  /** How many bytes at `base` are known to lie before `end`; -1 for none. */
  checkedSize(base: Value, end: Value, block: number): number {
    const known = this.#checks.get(`${base.id},${end.id}`);
    return known && this.#flow.dominates(known.block, block) ? known.size : -1;
  }

  /** Whether the verifier has learnt something about `value` between the blocks `from` and `to`. */
  isRefinedBetween(value: Value, from: number, to: number): boolean {
    const flow = this.#flow;
    const blocks = this.#refined.get(value.id);
    return blocks?.some((block) => block !== from && flow.dominates(from, block) && flow.dominates(block, to)) ?? false;
  }

  #noteRefined(value: Value, block: number): void {
    for (;;) {
      const blocks = this.#refined.get(value.id);
      if (blocks) blocks.push(block);
      else this.#refined.set(value.id, [block]);
      const { op } = value;
      if (op.op !== "zeroExtend" && op.op !== "truncate") return;
      value = op.value;
    }
  }

  #intervalOf(value: Value, block: number): Interval {
    const known = this.#intervals.get(value.id);
    if (known && this.#flow.dominates(known.block, block)) return known;
    return { low: 0n, high: possibleBits(value) };
  }
}

function keyOf(fn: CompareFn, left: Value, right: Value): { key: string; flipped: boolean } {
  const flipped = !basic.has(fn);
  const constant = constantOf(right);
  const other = constant === undefined ? `${right.id}` : `#${constant}`;
  return { key: `${flipped ? negated[fn]! : fn},${left.id},${other}`, flipped };
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function narrow({ low, high }: Interval, fn: CompareFn, constant: bigint): Interval | undefined {
  let next: Interval;
  switch (fn) {
    case "eq":
      next = { low: constant, high: constant };
      break;
    case "ne":
      next = { low: low === constant ? low + 1n : low, high: high === constant ? high - 1n : high };
      break;
    case "ult":
      next = { low, high: min(high, constant - 1n) };
      break;
    case "ule":
      next = { low, high: min(high, constant) };
      break;
    case "ugt":
      next = { low: max(low, constant + 1n), high };
      break;
    case "uge":
      next = { low: max(low, constant), high };
      break;
    default:
      return undefined;
  }
  // An empty interval means that the block is never reached; nothing is worth saying about it.
  return next.low <= next.high && next.low >= 0n && next.high <= fullMask(64) ? next : undefined;
}

function decideInterval({ low, high }: Interval, fn: CompareFn, constant: bigint): boolean | undefined {
  switch (fn) {
    case "eq":
    case "ne":
      if (constant < low || constant > high) return fn === "ne";
      return low === high ? fn === "eq" : undefined;
    case "ult":
      return high < constant ? true : low >= constant ? false : undefined;
    case "ule":
      return high <= constant ? true : low > constant ? false : undefined;
    case "ugt":
      return low > constant ? true : high <= constant ? false : undefined;
    case "uge":
      return low >= constant ? true : high < constant ? false : undefined;
    default:
      return undefined;
  }
}
