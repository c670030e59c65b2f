import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  add32,
  add64,
  before32,
  before64,
  difference32,
  difference64,
  expandSequence,
  inWindow32,
  inWindow64,
} from "./sequence.ts";

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const step32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const step64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

describe("32-bit sequence numbers", () => {
  test("difference32() undoes add32(), across the wrap", () => {
    fc.assert(fc.property(u32, step32, (a, step) => difference32(add32(a, step), a) === step));
  });

  test("before32() is true for numbers just behind, across the wrap", () => {
    expect(before32(0xffff_ffff, 0)).toBe(true);
    expect(before32(0, 0xffff_ffff)).toBe(false);
    expect(before32(7, 7)).toBe(false);
  });

  test("inWindow32() knows both edges of a window that wraps", () => {
    expect([0xffff_fffe, 0xffff_ffff, 0, 1].map((value) => inWindow32(value, 0xffff_ffff, 2))).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });
});

describe("64-bit sequence numbers", () => {
  test("difference64() undoes add64(), across the wrap", () => {
    fc.assert(fc.property(u64, step64, (a, step) => difference64(add64(a, step), a) === step));
  });

  test("before64() is true for numbers just behind, across the wrap", () => {
    expect(before64(2n ** 64n - 1n, 0n)).toBe(true);
    expect(before64(0n, 2n ** 64n - 1n)).toBe(false);
  });

  test("inWindow64() knows both edges of a window that wraps", () => {
    const start = 2n ** 64n - 1n;
    expect([start - 1n, start, 0n, 1n].map((value) => inWindow64(value, start, 2n))).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  test("expandSequence() restores every number within 2³¹ of the reference, across all wraps", () => {
    fc.assert(
      fc.property(u64, step32, (reference, step) => {
        const value = add64(reference, BigInt(step));
        expect(expandSequence(Number(value & 0xffff_ffffn), reference)).toBe(value);
      }),
    );
  });
});
