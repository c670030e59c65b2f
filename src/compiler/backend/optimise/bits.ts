/**
 * Which bits of an integer can be set, as far as the verifier can tell as well: a mask or a comparison dropped because of
 * something that only the compiler knows would leave an address without bounds. So byte swaps and remainders say nothing.
 */
import type { Value } from "../../ir/ir.ts";

const all = { 32: 0xffff_ffffn, 64: 0xffff_ffff_ffff_ffffn } as const;
/** Operand chains longer than this are not followed. */
const MAX_DEPTH = 8;
/** The verifier multiplies bounds up to this. */
const MAX_FACTOR = 0xffffn;

export function fullMask(width: 32 | 64): bigint {
  return all[width];
}

/** A mask that covers every bit `value` may have set. */
export function possibleBits(value: Value, depth = 0): bigint {
  const width = value.type.kind === "int" ? value.type.width : 64;
  const full = all[width];
  const { op } = value;
  if (depth > MAX_DEPTH) return full;
  const of = (operand: Value): bigint => possibleBits(operand, depth + 1);
  switch (op.op) {
    case "const":
      return op.value;
    case "load":
      return op.size === 8 || value.type.kind !== "int" ? full : (1n << BigInt(8 * op.size)) - 1n;
    case "compare":
      return 1n;
    case "zeroExtend":
      return of(op.value);
    case "truncate":
      return of(op.value) & full;
    case "binary":
      return op.left.type.kind === "int" ? bitsOfBinary(value, of, full, width) : full;
    default:
      return full;
  }
}

function bitsOfBinary(value: Value, of: (operand: Value) => bigint, full: bigint, width: 32 | 64): bigint {
  if (value.op.op !== "binary") return full;
  const { fn, left, right } = value.op;
  const constant = right.op.op === "const" ? right.op.value : undefined;
  const shift = constant === undefined ? undefined : constant & BigInt(width - 1);
  switch (fn) {
    case "and":
      return of(left) & of(right);
    case "or":
    case "xor":
      return of(left) | of(right);
    case "shl":
      return shift === undefined ? full : (of(left) << shift) & full;
    case "lshr":
      return shift === undefined ? full : of(left) >> shift;
    case "add":
      return bounded(of(left) + of(right), full);
    case "mul": {
      const factors = [of(left), of(right)];
      return factors.every((factor) => factor <= MAX_FACTOR) ? bounded(factors[0] * factors[1], full) : full;
    }
    case "ashr":
    case "div":
    case "mod":
    case "sub":
      return full;
  }
}

/** All bits up to the highest of `bits`. */
function smear(bits: bigint): bigint {
  return bits === 0n ? 0n : (1n << BigInt(bits.toString(2).length)) - 1n;
}

function bounded(maximum: bigint, full: bigint): bigint {
  return maximum > full ? full : smear(maximum);
}
