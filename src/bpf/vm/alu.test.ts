import { describe, expect, it } from "vitest";
import { AluOp, JumpOp } from "../opcodes.ts";
import { Random } from "../testing/random-program.ts";
import { alu32, alu64, compare, makeRegisters, swapBytes } from "./alu.ts";

const edges = [
  0n,
  1n,
  2n,
  31n,
  32n,
  63n,
  64n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  1n << 32n,
];
const high = [1n << 63n, (1n << 63n) - 1n, -1n, -2n, -0x8000_0000n, 0x1234_5678_9abc_def0n];
const values = [...edges, ...high].map((value) => BigInt.asUintN(64, value));
const random = new Random(1);
const pairs: [bigint, bigint][] = values.flatMap((a) => values.map((b): [bigint, bigint] => [a, b]));
for (let i = 0; i < 500; i++) {
  const next = () => (BigInt(random.next()) << 32n) | BigInt(random.next());
  pairs.push([next(), next()]);
}

/** The meaning of each operation, on unsigned numbers of some width. */
function reference(name: string, a: bigint, b: bigint, bits: number): bigint {
  const sa = BigInt.asIntN(bits, a);
  const sb = BigInt.asIntN(bits, b);
  const shift = b % BigInt(bits);
  const results: Record<string, () => bigint> = {
    add: () => a + b,
    sub: () => a - b,
    mul: () => a * b,
    div: () => (b === 0n ? 0n : a / b),
    mod: () => (b === 0n ? a : a % b),
    sdiv: () => (b === 0n ? 0n : sa / sb),
    smod: () => (b === 0n ? a : sa % sb),
    and: () => a & b,
    or: () => a | b,
    xor: () => a ^ b,
    shl: () => a << shift,
    lshr: () => a >> shift,
    ashr: () => sa >> shift,
    mov: () => b,
    neg: () => -a,
    mov8: () => BigInt.asIntN(8, b),
    mov16: () => BigInt.asIntN(16, b),
    mov32: () => BigInt.asIntN(32, b),
  };
  return BigInt.asUintN(bits, results[name]());
}

const special: Record<string, [number, number]> = {
  sdiv: [AluOp.div, 1],
  smod: [AluOp.mod, 1],
  mov8: [AluOp.mov, 8],
  mov16: [AluOp.mov, 16],
  mov32: [AluOp.mov, 32],
};
const names = [...Object.keys(AluOp).filter((name) => name !== "end"), ...Object.keys(special)];

function codeOf(name: string): [number, number] {
  return special[name] ?? [AluOp[name as keyof typeof AluOp], 0];
}

describe.each(names)("alu %s", (name) => {
  it("at 64 bits is the operation modulo 2^64", () => {
    const registers = makeRegisters();
    for (const [a, b] of pairs) {
      registers.wide[1] = a;
      registers.wide[2] = b;
      expect(alu64(registers, codeOf(name)[0], 1, 2, codeOf(name)[1])).toBe(true);
      if (registers.wide[1] !== reference(name, a, b, 64))
        expect([a, b, registers.wide[1]]).toBe(reference(name, a, b, 64));
    }
  });

  it("at 32 bits uses the low halves and zeroes the upper one", () => {
    const registers = makeRegisters();
    for (const [a, b] of pairs) {
      registers.wide[1] = a;
      registers.wide[2] = b;
      expect(alu32(registers, codeOf(name)[0], 1, 2, codeOf(name)[1])).toBe(true);
      const expected = reference(name, a & 0xffff_ffffn, b & 0xffff_ffffn, 32);
      if (registers.wide[1] !== expected) expect([a, b, registers.wide[1]]).toBe(expected);
    }
  });

  it("gives the same with one register as both operands", () => {
    const registers = makeRegisters();
    for (const a of values) {
      registers.wide[1] = a;
      alu64(registers, codeOf(name)[0], 1, 1, codeOf(name)[1]);
      expect(registers.wide[1]).toBe(reference(name, a, a, 64));
    }
  });
});

const holds: Record<keyof typeof JumpOp, (a: bigint, b: bigint, bits: number) => boolean> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  test: (a, b) => (a & b) !== 0n,
  ugt: (a, b) => a > b,
  uge: (a, b) => a >= b,
  ult: (a, b) => a < b,
  ule: (a, b) => a <= b,
  sgt: (a, b, bits) => BigInt.asIntN(bits, a) > BigInt.asIntN(bits, b),
  sge: (a, b, bits) => BigInt.asIntN(bits, a) >= BigInt.asIntN(bits, b),
  slt: (a, b, bits) => BigInt.asIntN(bits, a) < BigInt.asIntN(bits, b),
  sle: (a, b, bits) => BigInt.asIntN(bits, a) <= BigInt.asIntN(bits, b),
};

it.each(Object.keys(JumpOp) as (keyof typeof JumpOp)[])("compare() %s holds as on integers", (name) => {
  const registers = makeRegisters();
  for (const [a, b] of pairs) {
    registers.wide[1] = a;
    registers.wide[2] = b;
    const low = 0xffff_ffffn;
    const results = [compare(registers, JumpOp[name], 1, 2, false), compare(registers, JumpOp[name], 1, 2, true)];
    const expected = [holds[name](a, b, 64), holds[name](a & low, b & low, 32)];
    if (results.join() !== expected.join()) expect([a, b, ...results]).toEqual([a, b, ...expected]);
  }
});

it("swapBytes() reverses the low bits and zeroes the others, or only zeroes them", () => {
  const registers = makeRegisters();
  const swapped = (bits: number, reverse: boolean) => {
    registers.wide[1] = 0x1122_3344_5566_7788n;
    expect(swapBytes(registers, 1, bits, reverse)).toBe(true);
    return registers.wide[1];
  };
  expect([16, 32, 64].map((bits) => swapped(bits, true))).toEqual([0x8877n, 0x8877_6655n, 0x8877_6655_4433_2211n]);
  expect([16, 32, 64].map((bits) => swapped(bits, false))).toEqual([0x7788n, 0x5566_7788n, 0x1122_3344_5566_7788n]);
});
