/**
 * Arithmetic and comparison on register halves. Registers are a `Uint32Array` of low and high halves (little-endian pairs)
 * with a `BigUint64Array` over the same memory for what needs all 64 bits at once. Semantics: RFC 9669, section 4.
 */
import { AluOp, JumpOp } from "../opcodes.ts";

export interface Registers {
  /** Register n is at 2n (low half) and 2n + 1 (high half). */
  readonly halves: Uint32Array;
  readonly wide: BigUint64Array;
}

/** r0 to r10 and one more that holds immediates. */
export function makeRegisters(): Registers {
  const memory = new ArrayBuffer(12 * 8);
  return { halves: new Uint32Array(memory), wide: new BigUint64Array(memory) };
}

/** The register that holds an immediate operand. */
export const OPERAND = 11;

/** `dst = dst op src` at 64 bits; `offset` selects signed division and sign-extending moves. False: no such operation. */
export function alu64(registers: Registers, op: number, dst: number, src: number, offset: number): boolean {
  const { halves, wide } = registers;
  const d = dst << 1;
  const s = src << 1;
  switch (op) {
    case AluOp.mov:
      if (offset === 0) {
        halves[d + 1] = halves[s + 1]!;
        halves[d] = halves[s]!;
      } else {
        const value = (halves[s] << (32 - offset)) >> (32 - offset);
        halves[d] = value;
        halves[d + 1] = value >> 31;
      }
      return true;
    case AluOp.add: {
      const sum = halves[d] + halves[s];
      halves[d + 1] = halves[d + 1] + halves[s + 1] + (sum > 0xffff_ffff ? 1 : 0);
      halves[d] = sum;
      return true;
    }
    case AluOp.sub: {
      const difference = halves[d] - halves[s];
      halves[d + 1] = halves[d + 1] - halves[s + 1] - (difference < 0 ? 1 : 0);
      halves[d] = difference;
      return true;
    }
    case AluOp.and:
      halves[d + 1] = halves[d + 1] & halves[s + 1];
      halves[d] = halves[d] & halves[s];
      return true;
    case AluOp.or:
      halves[d + 1] = halves[d + 1] | halves[s + 1];
      halves[d] = halves[d] | halves[s];
      return true;
    case AluOp.xor:
      halves[d + 1] = halves[d + 1] ^ halves[s + 1];
      halves[d] = halves[d] ^ halves[s];
      return true;
    case AluOp.shl:
      wide[dst] = wide[dst] << BigInt(halves[s] & 63);
      return true;
    case AluOp.lshr:
      wide[dst] = wide[dst] >> BigInt(halves[s] & 63);
      return true;
    case AluOp.ashr:
      wide[dst] = BigInt.asIntN(64, wide[dst]) >> BigInt(halves[s] & 63);
      return true;
    case AluOp.mul:
      wide[dst] = wide[dst] * wide[src];
      return true;
    case AluOp.div:
    case AluOp.mod:
      divide64(registers, op, dst, src, offset === 1);
      return true;
    case AluOp.neg:
      wide[dst] = -wide[dst];
      return true;
    default:
      return false;
  }
}

/** x / 0 is 0 and x % 0 is x; the one signed quotient that overflows wraps. */
function divide64({ wide }: Registers, op: number, dst: number, src: number, signed: boolean): void {
  const divisor = signed ? BigInt.asIntN(64, wide[src]) : wide[src];
  const dividend = signed ? BigInt.asIntN(64, wide[dst]) : wide[dst];
  if (divisor === 0n) {
    if (op === AluOp.div) wide[dst] = 0n;
  } else {
    wide[dst] = op === AluOp.div ? dividend / divisor : dividend % divisor;
  }
}

/** `dst = dst op src` on the low halves; the high half becomes zero. False: no such operation. */
export function alu32({ halves }: Registers, op: number, dst: number, src: number, offset: number): boolean {
  const d = dst << 1;
  const left = halves[d];
  const right = halves[src << 1];
  let result: number;
  switch (op) {
    case AluOp.mov:
      result = offset === 0 ? right : (right << (32 - offset)) >> (32 - offset);
      break;
    case AluOp.add:
      result = left + right;
      break;
    case AluOp.sub:
      result = left - right;
      break;
    case AluOp.mul:
      result = Math.imul(left, right);
      break;
    case AluOp.div:
      if (offset === 1) result = right === 0 ? 0 : (left | 0) / (right | 0);
      else result = right === 0 ? 0 : left / right;
      break;
    case AluOp.mod:
      if (right === 0) result = left;
      else result = offset === 1 ? (left | 0) % (right | 0) : left % right;
      break;
    case AluOp.and:
      result = left & right;
      break;
    case AluOp.or:
      result = left | right;
      break;
    case AluOp.xor:
      result = left ^ right;
      break;
    case AluOp.shl:
      result = left << (right & 31);
      break;
    case AluOp.lshr:
      result = left >>> (right & 31);
      break;
    case AluOp.ashr:
      result = left >> (right & 31);
      break;
    case AluOp.neg:
      result = -left;
      break;
    default:
      return false;
  }
  // A store into a Uint32Array truncates towards zero, modulo 2^32, as all of these need.
  halves[d] = result;
  halves[d + 1] = 0;
  return true;
}

function swap16(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}

function swap32(value: number): number {
  return ((swap16(value) << 16) | swap16(value >>> 16)) >>> 0;
}

/** Reverses (or only cuts off) the low `bits` of `dst`; the bits above become zero. False: no such width. */
export function swapBytes({ halves }: Registers, dst: number, bits: number, reverse: boolean): boolean {
  const d = dst << 1;
  const low = halves[d];
  const high = halves[d + 1];
  if (bits === 64) {
    if (!reverse) return true;
    halves[d] = swap32(high);
    halves[d + 1] = swap32(low);
    return true;
  }
  if (bits !== 16 && bits !== 32) return false;
  const kept = bits === 16 ? low & 0xffff : low;
  halves[d] = !reverse ? kept : bits === 16 ? swap16(kept) : swap32(kept);
  halves[d + 1] = 0;
  return true;
}

/** Whether `dst op src` holds, on 64 bits or on the low halves; undefined: no such operation. */
export function compare(
  { halves }: Registers,
  op: number,
  dst: number,
  src: number,
  narrow: boolean,
): boolean | undefined {
  const left = halves[dst << 1];
  const right = halves[src << 1];
  // The high halves decide unless they are equal, which they are at 32 bits.
  const leftHigh = narrow ? 0 : halves[(dst << 1) + 1];
  const rightHigh = narrow ? 0 : halves[(src << 1) + 1];
  switch (op) {
    case JumpOp.eq:
      return left === right && leftHigh === rightHigh;
    case JumpOp.ne:
      return left !== right || leftHigh !== rightHigh;
    case JumpOp.test:
      return (left & right) !== 0 || (leftHigh & rightHigh) !== 0;
    case JumpOp.ugt:
      return leftHigh === rightHigh ? left > right : leftHigh > rightHigh;
    case JumpOp.uge:
      return leftHigh === rightHigh ? left >= right : leftHigh > rightHigh;
    case JumpOp.ult:
      return leftHigh === rightHigh ? left < right : leftHigh < rightHigh;
    case JumpOp.ule:
      return leftHigh === rightHigh ? left <= right : leftHigh < rightHigh;
  }
  const signedLeft = narrow ? left | 0 : leftHigh | 0;
  const signedRight = narrow ? right | 0 : rightHigh | 0;
  const tie = !narrow && signedLeft === signedRight;
  switch (op) {
    case JumpOp.sgt:
      return tie ? left > right : signedLeft > signedRight;
    case JumpOp.sge:
      return tie ? left >= right : signedLeft >= signedRight;
    case JumpOp.slt:
      return tie ? left < right : signedLeft < signedRight;
    case JumpOp.sle:
      return tie ? left <= right : signedLeft <= signedRight;
    default:
      return undefined;
  }
}
