/** Local rewriting of one operation: constants, algebraic identities, narrower forms. */
import { evaluateBinary, evaluateCompare, evaluateSwap, mirrored, negated } from "../../ir/evaluate.ts";
import { int32, int64, type BinaryFn, type CompareFn, type Op, type Type, type Value } from "../../ir/ir.ts";
import { fullMask, possibleBits } from "./bits.ts";

/** What rules may ask for. */
export interface Rewriter {
  /** An integer operation as a value, numbered and simplified itself. */
  make(op: Op, type: Type): Value;
  /** How many users a value had when the pass began. */
  uses(value: Value): number;
}

type Binary = Op & { op: "binary" };

const commutative: ReadonlySet<BinaryFn> = new Set(["add", "mul", "and", "or", "xor"]);
const associative = commutative;

/** A simpler operation or an existing value to use instead; undefined if there is nothing better. */
export function simplify(op: Op, type: Type, rewriter: Rewriter): Op | Value | undefined {
  switch (op.op) {
    case "binary":
      return type.kind === "int" ? simplifyBinary(op, type.width, rewriter) : undefined;
    case "swap": {
      const constant = constantOf(op.value);
      if (constant !== undefined) return { op: "const", value: evaluateSwap(op.bits, constant) };
      const inner = op.value.op;
      if (inner.op !== "swap" || inner.bits !== op.bits) return undefined;
      if (type.kind !== "int" || widthOf(inner.value) !== type.width) return undefined;
      return keepBits(inner.value, op.bits, rewriter);
    }
    case "zeroExtend": {
      const constant = constantOf(op.value);
      if (constant !== undefined) return { op: "const", value: constant };
      const inner = op.value.op;
      if (inner.op !== "truncate") return undefined;
      return { op: "binary", fn: "and", left: inner.value, right: constantValue(0xffff_ffffn, 64, rewriter) };
    }
    case "signExtend": {
      const constant = constantOf(op.value);
      if (constant !== undefined) return { op: "const", value: BigInt.asUintN(64, BigInt.asIntN(op.from, constant)) };
      if (possibleBits(op.value) >> BigInt(op.from - 1) !== 0n) return undefined;
      return widthOf(op.value) === 32 ? { op: "zeroExtend", value: op.value } : op.value;
    }
    case "truncate":
      return simplifyTruncate(op.value, rewriter);
    case "compare":
      return simplifyCompare(op.fn, op.left, op.right, rewriter);
    case "pointerAdd":
      return simplifyPointerAdd(op.base, op.by, rewriter);
    case "load":
      return op.field ? undefined : withFoldedAddress(op, rewriter);
    case "atomicAdd":
    case "atomicFetchAdd":
    case "atomicCompareExchange":
      return withFoldedAddress(op, rewriter);
    case "store": {
      const value = op.size === 8 ? op.value : withoutUselessBits(op.value, op.size);
      const folded = op.field ? undefined : withFoldedAddress(op, rewriter);
      return value === op.value ? folded : { ...(folded ?? op), value };
    }
    default:
      return undefined;
  }
}

export function constantOf(value: Value): bigint | undefined {
  return value.op.op === "const" ? value.op.value : undefined;
}

function widthOf(value: Value): 32 | 64 {
  return value.type.kind === "int" ? value.type.width : 64;
}

function constantValue(value: bigint, width: 32 | 64, rewriter: Rewriter): Value {
  return rewriter.make({ op: "const", value: BigInt.asUintN(width, value) }, width === 32 ? int32 : int64);
}

function keepBits(value: Value, bits: number, rewriter: Rewriter): Op | Value {
  if (possibleBits(value) >> BigInt(bits) === 0n) return value;
  const right = constantValue((1n << BigInt(bits)) - 1n, widthOf(value), rewriter);
  return { op: "binary", fn: "and", left: value, right };
}

/** The value whose low `size` bytes are those of `value`, without masks and extensions above them. */
function withoutUselessBits(value: Value, size: number): Value {
  const needed = (1n << BigInt(8 * size)) - 1n;
  for (;;) {
    const { op } = value;
    if (op.op === "truncate" || op.op === "zeroExtend") value = op.value;
    else if (op.op === "signExtend" && op.from >= 8 * size) value = op.value;
    else if (op.op === "binary" && op.fn === "and" && ((constantOf(op.right) ?? 0n) & needed) === needed)
      value = op.left;
    else return value;
  }
}

function simplifyBinary(op: Binary, width: 32 | 64, rewriter: Rewriter): Op | Value | undefined {
  let { fn, left, right } = op;
  let a = constantOf(left);
  let b = constantOf(right);
  if (a !== undefined && b !== undefined) return { op: "const", value: evaluateBinary(fn, width, a, b) };
  const turned = a !== undefined && commutative.has(fn);
  if (turned) {
    [left, right] = [right, left];
    [a, b] = [b, a];
  }
  const constant = (value: bigint): Value => constantValue(value, width, rewriter);
  if (b !== undefined) {
    const simpler = withConstant(fn, width, left, b, constant);
    if (simpler) return simpler;
    const inner = left.op;
    if (inner.op === "binary" && inner.fn === fn && associative.has(fn)) {
      const c = constantOf(inner.right);
      if (c !== undefined)
        return { op: "binary", fn, left: inner.left, right: constant(evaluateBinary(fn, width, c, b)) };
    }
  }
  if (left === right) {
    if (fn === "and" || fn === "or") return left;
    if (fn === "xor" || fn === "sub") return { op: "const", value: 0n };
  }
  if (fn === "and" && width === 64 && left.op.op === "zeroExtend") {
    // The upper half is zero: the mask can be applied to the lower one.
    const low = b === undefined ? right.op.op === "zeroExtend" && right.op.value : constantValue(b, 32, rewriter);
    if (low) {
      const value = rewriter.make({ op: "binary", fn, left: left.op.value, right: low }, int32);
      return { op: "zeroExtend", value };
    }
  }
  return turned ? { op: "binary", fn, left, right } : undefined;
}

function withConstant(
  fn: BinaryFn,
  width: 32 | 64,
  left: Value,
  b: bigint,
  constant: (value: bigint) => Value,
): Op | Value | undefined {
  const zero: Op = { op: "const", value: 0n };
  const full = fullMask(width);
  const shift = b & BigInt(width - 1);
  const inner = left.op.op === "binary" ? left.op : undefined;
  const innerConstant = inner && constantOf(inner.right);
  switch (fn) {
    case "add":
    case "or":
      if (b === 0n) return left;
      return fn === "or" && b === full ? { op: "const", value: full } : undefined;
    case "xor":
      if (b === 0n) return left;
      if (b === 1n && left.op.op === "compare") {
        const opposite = negated[left.op.fn];
        if (opposite) return { ...left.op, fn: opposite };
      }
      return undefined;
    case "sub":
      return b === 0n ? left : { op: "binary", fn: "add", left, right: constant(-b) };
    case "mul": {
      if (b === 0n) return zero;
      if (b === 1n) return left;
      const power = powerOfTwo(b);
      return power === undefined ? undefined : { op: "binary", fn: "shl", left, right: constant(power) };
    }
    case "div": {
      if (b === 0n) return zero;
      if (b === 1n) return left;
      const power = powerOfTwo(b);
      return power === undefined ? undefined : { op: "binary", fn: "lshr", left, right: constant(power) };
    }
    case "mod":
      if (b === 0n) return left;
      return powerOfTwo(b) === undefined ? undefined : { op: "binary", fn: "and", left, right: constant(b - 1n) };
    case "and": {
      const possible = possibleBits(left);
      if ((possible & b) === 0n) return zero;
      return (possible & ~b) === 0n ? left : undefined;
    }
    case "shl":
    case "lshr":
    case "ashr": {
      if (shift === 0n) return left;
      if (fn === "lshr" && possibleBits(left) >> shift === 0n) return zero;
      if (!inner || innerConstant === undefined) return undefined;
      const innerShift = innerConstant & BigInt(width - 1);
      if (inner.fn === fn) {
        const sum = shift + innerShift;
        if (sum < BigInt(width)) return { op: "binary", fn, left: inner.left, right: constant(sum) };
        return fn === "ashr" ? undefined : zero;
      }
      if (innerShift !== shift || fn === "ashr" || inner.fn === "ashr") return undefined;
      if (inner.fn === "shl") return { op: "binary", fn: "and", left: inner.left, right: constant(full >> shift) };
      if (inner.fn !== "lshr") return undefined;
      return { op: "binary", fn: "and", left: inner.left, right: constant((full << shift) & full) };
    }
  }
}

function powerOfTwo(value: bigint): bigint | undefined {
  if ((value & (value - 1n)) !== 0n) return undefined;
  return BigInt(value.toString(2).length - 1);
}

const truncatable: ReadonlySet<BinaryFn> = new Set(["add", "sub", "mul", "and", "or", "xor"]);

function simplifyTruncate(value: Value, rewriter: Rewriter): Op | Value | undefined {
  const { op } = value;
  switch (op.op) {
    case "const":
      return { op: "const", value: op.value & 0xffff_ffffn };
    case "zeroExtend":
      return op.value;
    case "signExtend":
      return op.from === 32 && widthOf(op.value) === 32 ? op.value : undefined;
    case "binary": {
      const b = constantOf(op.right);
      if (op.fn === "and" && b !== undefined && (b & 0xffff_ffffn) === 0xffff_ffffn)
        return { op: "truncate", value: op.left };
      const isShift = op.fn === "shl" && b !== undefined && (b & 63n) < 32n;
      if (!truncatable.has(op.fn) && !isShift) return undefined;
      const left = narrow(op.left, rewriter);
      const right = narrow(op.right, rewriter);
      return left && right ? { op: "binary", fn: op.fn, left, right } : undefined;
    }
    default:
      return undefined;
  }
}

/** The low half of a value where that costs nothing. */
function narrow(value: Value, rewriter: Rewriter): Value | undefined {
  const { op } = value;
  if (op.op === "zeroExtend") return op.value;
  if (op.op === "const") return constantValue(op.value, 32, rewriter);
  return undefined;
}

/** A comparison with its constant on the right, if it has one. */
export interface Condition {
  readonly fn: CompareFn;
  readonly left: Value;
  readonly right: Value;
  /** Whether the comparison holds exactly when the original one does not. */
  readonly inverted: boolean;
}

function simplifyCompare(fn: CompareFn, left: Value, right: Value, rewriter: Rewriter): Op | Value | undefined {
  const decided = simplifyCondition({ fn, left, right, inverted: false }, rewriter);
  if (typeof decided === "boolean") return { op: "const", value: decided ? 1n : 0n };
  let { fn: now } = decided;
  if (decided.inverted) {
    const opposite = negated[now];
    if (!opposite) return undefined;
    now = opposite;
  }
  if (isBit(decided.left) && decided.right.op.op === "const") {
    const b = decided.right.op.value;
    if ((now === "ne" && b === 0n) || (now === "eq" && b === 1n)) return decided.left;
  }
  if (now === fn && decided.left === left && decided.right === right) return undefined;
  return { op: "compare", fn: now, left: decided.left, right: decided.right };
}

function isBit(value: Value): boolean {
  return widthOf(value) === 32 && possibleBits(value) <= 1n;
}

/** Simplifies until nothing changes; true or false if the outcome is known. */
export function simplifyCondition(condition: Condition, rewriter: Rewriter): Condition | boolean {
  for (let round = 0; round < 8; round++) {
    const next = simplifyConditionOnce(condition, rewriter);
    if (next === undefined) return condition;
    if (typeof next === "boolean") return next !== condition.inverted;
    condition = { ...next, inverted: next.inverted !== condition.inverted };
  }
  return condition;
}

function simplifyConditionOnce(condition: Condition, rewriter: Rewriter): Condition | boolean | undefined {
  const { fn, left, right } = condition;
  const same = (next: Partial<Condition>): Condition => ({ fn, left, right, inverted: false, ...next });
  if (left.type.kind !== "int") return left === right && right.type.kind === "pointer" ? holdsForEqual(fn) : undefined;
  const width = left.type.width;
  const a = constantOf(left);
  const b = constantOf(right);
  if (a !== undefined && b !== undefined) return evaluateCompare(fn, width, a, b);
  if (a !== undefined) return same({ fn: mirrored[fn], left: right, right: left });
  if (left === right && fn !== "test") return holdsForEqual(fn);
  if (left.op.op === "zeroExtend" && !fn.startsWith("s")) {
    if (right.op.op === "zeroExtend") return same({ left: left.op.value, right: right.op.value });
    if (b !== undefined && b >> 32n === 0n) return same({ left: left.op.value, right: constantValue(b, 32, rewriter) });
  }
  const sameSwap = left.op.op === "swap" && right.op.op === "swap" && left.op.bits === right.op.bits;
  if (sameSwap && left.op.op === "swap" && right.op.op === "swap" && (fn === "eq" || fn === "ne")) {
    const inner = [left.op.value, right.op.value] as const;
    const bits = BigInt(left.op.bits);
    const fits = inner.every((value) => possibleBits(value) >> bits === 0n && widthOf(value) === width);
    if (fits) return same({ left: inner[0], right: inner[1] });
  }
  if (b === undefined) return undefined;
  return withConstantRight(condition, b, width, rewriter);
}

function holdsForEqual(fn: CompareFn): boolean {
  return fn === "eq" || fn.endsWith("le") || fn.endsWith("ge");
}

function withConstantRight(
  { fn, left, right }: Condition,
  b: bigint,
  width: 32 | 64,
  rewriter: Rewriter,
): Condition | boolean | undefined {
  const same = (next: Partial<Condition>): Condition => ({ fn, left, right, inverted: false, ...next });
  const constant = (value: bigint): Value => constantValue(value, width, rewriter);
  const possible = possibleBits(left);
  const decided = decide(fn, possible, b);
  if (decided !== undefined) return decided;
  if (fn === "ult" && b === 1n) return same({ fn: "eq", right: constant(0n) });
  if (fn === "uge" && b === 1n) return same({ fn: "ne", right: constant(0n) });
  if (fn === "ugt" && b === 0n) return same({ fn: "ne" });
  if (fn === "ule" && b === 0n) return same({ fn: "eq" });
  if (fn === "test" && (possible & ~b) === 0n) return same({ fn: "ne", right: constant(0n) });
  if (fn !== "eq" && fn !== "ne") return undefined;
  const { op } = left;
  if (op.op === "swap" && widthOf(op.value) === width && possibleBits(op.value) >> BigInt(op.bits) === 0n) {
    return same({ left: op.value, right: constant(evaluateSwap(op.bits, b)) });
  }
  if (op.op === "binary") {
    const c = constantOf(op.right);
    if (c !== undefined && (op.fn === "add" || op.fn === "xor")) {
      return same({ left: op.left, right: constant(op.fn === "add" ? b - c : b ^ c) });
    }
    if (b === 0n && (op.fn === "xor" || op.fn === "sub")) return same({ left: op.left, right: op.right });
    if (b === 0n && op.fn === "and" && rewriter.uses(left) <= 1) {
      return { fn: "test", left: op.left, right: op.right, inverted: fn === "eq" };
    }
  }
  if (op.op === "compare") {
    // 0 or 1 against a constant: the comparison itself, or its opposite.
    if (b > 1n) return fn === "ne";
    return { fn: op.fn, left: op.left, right: op.right, inverted: (fn === "eq") === (b === 0n) };
  }
  return undefined;
}

/** What the bits that `left` may have set say about a comparison with a constant. */
function decide(fn: CompareFn, possible: bigint, b: bigint): boolean | undefined {
  switch (fn) {
    case "eq":
    case "ne":
      return (b & ~possible) !== 0n ? fn === "ne" : undefined;
    case "ult":
      return b === 0n ? false : possible < b ? true : undefined;
    case "ule":
      return possible <= b ? true : undefined;
    case "ugt":
      return possible <= b ? false : undefined;
    case "uge":
      return b === 0n ? true : possible < b ? false : undefined;
    case "test":
      return (possible & b) === 0n ? false : undefined;
    default:
      return undefined;
  }
}

function simplifyPointerAdd(base: Value, by: Value, rewriter: Rewriter): Op | Value | undefined {
  const b = constantOf(by);
  if (b === 0n) return base;
  if (b === undefined || base.op.op !== "pointerAdd") return undefined;
  const inner = constantOf(base.op.by);
  if (inner === undefined) return undefined;
  return { op: "pointerAdd", base: base.op.base, by: constantValue(inner + b, 64, rewriter) };
}

/** Constant distances move from a pointer into the access; so do offsets in a map's entry, so that its address is one value. */
function withFoldedAddress<
  T extends Op & { op: "load" | "store" | "atomicAdd" | "atomicFetchAdd" | "atomicCompareExchange" },
>(op: T, rewriter: Rewriter): T | undefined {
  const { op: pointer, type } = op.base;
  if (pointer.op === "mapValue") {
    const offset = op.offset + pointer.offset;
    if (pointer.offset === 0 || !isInt16(offset)) return undefined;
    return { ...op, base: rewriter.make({ ...pointer, offset: 0 }, type), offset };
  }
  if (pointer.op !== "pointerAdd") return undefined;
  const by = constantOf(pointer.by);
  if (by === undefined) return undefined;
  const offset = op.offset + Number(BigInt.asIntN(64, by));
  return isInt16(offset) ? { ...op, base: pointer.base, offset } : undefined;
}

function isInt16(offset: number): boolean {
  return offset === (offset << 16) >> 16;
}
