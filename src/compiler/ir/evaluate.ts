/** What the operations on integers compute, on two's complement bit patterns. The host is little-endian. */
import type { BinaryFn, CompareFn } from "./ir.ts";

/** `left fn right` at `width` bits; both operands and the result are in 0..2^width. */
export function evaluateBinary(fn: BinaryFn, width: 32 | 64, left: bigint, right: bigint): bigint {
  const shift = right & BigInt(width - 1);
  switch (fn) {
    case "add":
      return BigInt.asUintN(width, left + right);
    case "sub":
      return BigInt.asUintN(width, left - right);
    case "mul":
      return BigInt.asUintN(width, left * right);
    case "div":
      return right === 0n ? 0n : left / right;
    case "mod":
      return right === 0n ? left : left % right;
    case "and":
      return left & right;
    case "or":
      return left | right;
    case "xor":
      return left ^ right;
    case "shl":
      return BigInt.asUintN(width, left << shift);
    case "lshr":
      return left >> shift;
    case "ashr":
      return BigInt.asUintN(width, BigInt.asIntN(width, left) >> shift);
  }
}

export function evaluateCompare(fn: CompareFn, width: 32 | 64, left: bigint, right: bigint): boolean {
  const signed = (value: bigint): bigint => BigInt.asIntN(width, value);
  switch (fn) {
    case "eq":
      return left === right;
    case "ne":
      return left !== right;
    case "ult":
      return left < right;
    case "ule":
      return left <= right;
    case "ugt":
      return left > right;
    case "uge":
      return left >= right;
    case "slt":
      return signed(left) < signed(right);
    case "sle":
      return signed(left) <= signed(right);
    case "sgt":
      return signed(left) > signed(right);
    case "sge":
      return signed(left) >= signed(right);
    case "test":
      return (left & right) !== 0n;
  }
}

/** The low `bits` with their bytes reversed; higher bits zero. */
export function evaluateSwap(bits: 16 | 32 | 64, value: bigint): bigint {
  let result = 0n;
  for (let i = 0; i < bits; i += 8) result = (result << 8n) | ((value >> BigInt(i)) & 0xffn);
  return result;
}

/** The comparison that holds exactly when `fn` does not; `test` has none. */
export const negated: Readonly<Partial<Record<CompareFn, CompareFn>>> = {
  eq: "ne",
  ne: "eq",
  ult: "uge",
  uge: "ult",
  ule: "ugt",
  ugt: "ule",
  slt: "sge",
  sge: "slt",
  sle: "sgt",
  sgt: "sle",
};

/** `left fn right` is `right mirrored[fn] left`. */
export const mirrored: Readonly<Record<CompareFn, CompareFn>> = {
  eq: "eq",
  ne: "ne",
  test: "test",
  ult: "ugt",
  ugt: "ult",
  ule: "uge",
  uge: "ule",
  slt: "sgt",
  sgt: "slt",
  sle: "sge",
  sge: "sle",
};
