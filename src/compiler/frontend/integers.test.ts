import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { integerSizes, type IntegerName } from "../../policy/types.ts";
import { capturedFrames } from "../testing/frames.ts";
import { chain, type VmRunner } from "../testing/policy-harness.ts";
import { policySource } from "../testing/policy-source.ts";

const [frame] = capturedFrames();
const types = Object.keys(integerSizes) as IntegerName[];
const bitsOf = (type: IntegerName): number => 8 * integerSizes[type];
const isSigned = (type: IntegerName): boolean => type.startsWith("i");

/** What the language says of `value` as `type`: its low bits. */
function wrap(type: IntegerName, value: bigint): bigint {
  return isSigned(type) ? BigInt.asIntN(bitsOf(type), value) : BigInt.asUintN(bitsOf(type), value);
}

/** Values where something might go wrong, and others. */
function valueOf(type: IntegerName): fc.Arbitrary<bigint> {
  const bits = BigInt(bitsOf(type));
  const edges = [0n, 1n, 2n, -1n, 7n, 1n << (bits - 1n), (1n << (bits - 1n)) - 1n, 0xffn, 0xffffn, 0xffff_ffffn];
  return fc
    .oneof(fc.constantFrom(...edges), fc.bigInt({ min: 0n, max: (1n << bits) - 1n }))
    .map((value) => wrap(type, value));
}

/** An actor with parameters a and b of two types; each of `expressions` becomes one field of its state, as an i64 or u64. */
function calculator(left: IntegerName, right: IntegerName, expressions: Readonly<Record<string, string>>): VmRunner {
  const names = Object.keys(expressions);
  const source =
    policySource(`import { ${["actor", "shared", "min", "max", ...types].join(", ")} } from "emptcp/policy";
export const calculate = actor({
  name: "calculate",
  params: { a: ${left}, b: ${right} },
  state: { out: shared({ ${names.map((name) => `${name}: u64`).join(", ")} }) },
  run(_packet, { a, b }, { out }) {
    ${names.map((name) => `out.${name} = u64(${expressions[name]});`).join("\n    ")}
  },
});`);
  return chain({ source, actors: [["calculate", { a: 0, b: 0 }]] }).vm();
}

function results(vm: VmRunner, a: bigint, b: bigint): Readonly<Record<string, bigint>> {
  vm.set(0, { a, b });
  vm.run(frame);
  return vm.state()["0.out"][0].fields;
}

type Reference = (a: bigint, b: bigint) => bigint;

/** Calculates on random operands and compares every field with its reference, as the u64 that the field holds. */
function compare(
  left: IntegerName,
  right: IntegerName,
  table: Readonly<Record<string, readonly [expression: string, reference: Reference]>>,
): void {
  const expressions = Object.fromEntries(Object.entries(table).map(([name, [expression]]) => [name, expression]));
  const vm = calculator(left, right, expressions);
  const property = fc.property(valueOf(left), valueOf(right), (a, b) => {
    const found = results(vm, a, b);
    for (const [name, [expression, reference]] of Object.entries(table))
      expect(found[name], `${expression} of ${a} and ${b}`).toBe(BigInt.asUintN(64, reference(a, b)));
  });
  fc.assert(property, { numRuns: 300, seed: 1 });
}

const bit = (value: boolean): bigint => (value ? 1n : 0n);

/** Whether the second type holds every value of the first. */
function widens(from: IntegerName, to: IntegerName): boolean {
  if (isSigned(from) === isSigned(to)) return bitsOf(from) <= bitsOf(to);
  return isSigned(to) && bitsOf(from) < bitsOf(to);
}

const pairs = types.flatMap((left) =>
  types.flatMap((right) => {
    const common = widens(left, right) ? right : widens(right, left) ? left : undefined;
    return common ? [{ left, right, common }] : [];
  }),
);

describe("operators on integers", () => {
  it.each(pairs)("$left with $right is calculated as $common and wraps there", ({ left, right, common }) => {
    // Smaller types are worked on in registers of 32 bits, of which a shift's count takes the low five.
    const count = (value: bigint): bigint => BigInt.asUintN(64, value) & (bitsOf(left) === 64 ? 63n : 31n);
    const asUnsigned = (value: bigint): bigint => BigInt.asUintN(bitsOf(left) === 64 ? 64 : 32, value);
    compare(left, right, {
      add: ["a + b", (a, b) => wrap(common, a + b)],
      subtract: ["a - b", (a, b) => wrap(common, a - b)],
      multiply: ["a * b", (a, b) => wrap(common, a * b)],
      and: ["a & b", (a, b) => a & b],
      or: ["a | b", (a, b) => a | b],
      xor: ["a ^ b", (a, b) => a ^ b],
      less: ["a < b", (a, b) => bit(a < b)],
      lessOrEqual: ["a <= b", (a, b) => bit(a <= b)],
      greater: ["a > b", (a, b) => bit(a > b)],
      greaterOrEqual: ["a >= b", (a, b) => bit(a >= b)],
      equal: ["a === b", (a, b) => bit(a === b)],
      different: ["a !== b", (a, b) => bit(a !== b)],
      smaller: ["min(a, b)", (a, b) => (a < b ? a : b)],
      larger: ["max(a, b)", (a, b) => (a > b ? a : b)],
      chosen: ["a < b ? a : b", (a, b) => (a < b ? a : b)],
      shiftLeft: ["a << b", (a, b) => wrap(left, a << count(b))],
      shiftRight: ["a >> b", (a, b) => a >> count(b)],
      shiftUnsigned: ["a >>> b", (a, b) => wrap(left, asUnsigned(a) >> count(b))],
    });
  });

  it.each(types.filter((type) => !isSigned(type)))("%s divides as the kernel does: by zero gives zero", (type) => {
    compare(type, type, {
      divide: ["a / b", (a, b) => (b === 0n ? 0n : a / b)],
      remainder: ["a % b", (a, b) => (b === 0n ? a : a % b)],
      byConstant: ["a / 10", (a) => a / 10n],
      remainderOfConstant: ["a % 10", (a) => a % 10n],
    });
  });

  it.each(types)("%s is negated, inverted and combined with constants of its own width", (type) => {
    compare(type, type, {
      negative: ["-a", (a) => wrap(type, -a)],
      inverted: ["~a", (a) => wrap(type, ~a)],
      same: ["+a", (a) => a],
      withConstant: ["a + 100", (a) => wrap(type, a + 100n)],
      constantFirst: ["100 - a", (a) => wrap(type, 100n - a)],
      shiftedTwice: ["(a << 3) >> 3", (a) => wrap(type, a << 3n) >> 3n],
      smallest: ["min(a, 100)", (a) => (a < 100n ? a : 100n)],
      isLarge: ["a >= 100 && b > 0", (a, b) => bit(a >= 100n && b > 0n)],
      either: ["a > b || a === 1", (a, b) => bit(a > b || a === 1n)],
      not: ["!(a > b)", (a, b) => bit(!(a > b))],
      compound: ["(a + b) * 3 - (a ^ b)", (a, b) => wrap(type, wrap(type, wrap(type, a + b) * 3n) - wrap(type, a ^ b))],
    });
  });

  it.each(types)("%s is converted to every type by its low bits, and widened by its sign", (type) => {
    compare(
      type,
      type,
      Object.fromEntries(types.map((to) => [`to_${to}`, [`${to}(a)`, (a: bigint) => wrap(to, a)] as const])),
    );
  });
});

const one = (expression: string): bigint => results(calculator("u64", "u64", { out: expression }), 0n, 0n)["out"];

describe("constants", () => {
  it.each<[string, bigint]>([
    ["0xffff_ffff_ffff_ffff", 0xffff_ffff_ffff_ffffn],
    ["9007199254740993", 9_007_199_254_740_993n],
    ["0b1010", 10n],
    ["0o17", 15n],
    ["1e3", 1000n],
    ["1_000_000", 1_000_000n],
    ["(1 << 40) + 1", (1n << 40n) + 1n],
    ["7 * 6 - 2 / 2 % 5", 41n],
    ["i32(0xffff_ffff)", 0xffff_ffff_ffff_ffffn],
    ["u8(-1)", 255n],
    ["a === 0 ? 5 : 0x1_0000_0000", 5n],
    ["i64(a === 1 ? -1 : -2)", 0xffff_ffff_ffff_fffen],
    ["5 < 6", 1n],
    ["true", 1n],
  ])("%s is %s", (expression, value) => {
    expect(one(expression)).toBe(value);
  });
});
