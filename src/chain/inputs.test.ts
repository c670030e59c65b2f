import { assert, bigInt, property, stringMatching } from "fast-check";
import { describe, expect, test } from "vitest";
import {
  address,
  bool,
  choice,
  i32,
  prefix,
  rate,
  text,
  u16,
  u64,
  within,
  type ParameterType,
} from "../policy/index.ts";
import { ParameterError, readConstant, readWord, showWord } from "./inputs.ts";

const agrees = (type: ParameterType, word: bigint) => readWord(type, showWord(type, word), "x.y") === word;

const readBack = (type: ParameterType, shown: string) => showWord(type, readWord(type, shown, "x.y"));

describe("readWord()", () => {
  test.each([
    ["decimal text", u16, "65535", 65_535n],
    ["hexadecimal text", u16, "0xFF", 255n],
    ["a negative number, as the bits of its type", i32, -1, 0xffff_ffffn],
    ["the largest u64", u64, 0xffff_ffff_ffff_ffffn, 0xffff_ffff_ffff_ffffn],
    ["a rate with a unit", rate, "2.5 Mbit/s", 312_500n],
    ["a rate in bits per second", rate, 8_000_000, 1_000_000n],
    ["true", bool, "true", 1n],
    ["a choice, by its place", choice("a", "b"), "b", 1n],
    ["a text, as its bytes", text(15), "bbr", 0x72_62_62n],
  ])("takes %s", (_, type, input, word) => {
    expect(readWord(type, input, "x.y")).toBe(word);
  });

  test.each([
    ["too large", u16, 65_536],
    ["too small", u16, -1],
    ["a fraction", u16, 1.5],
    ["not a number", u16, Number.NaN],
    ["empty", u16, ""],
    ["digits and more", u16, "12px"],
    ["outside a narrowed range", within(u16, 1, 10), 11],
    ["a rate without a unit that is known", rate, "10 parsec"],
    ["an infinite rate", rate, Number.POSITIVE_INFINITY],
    ["no boolean", bool, "yes"],
    ["no choice", choice("a", "b"), "c"],
    ["no text", text(15), ""],
    ["a text too long", text(4), "cubic"],
    ["a text with other characters", text(15), "a b"],
  ])("rejects what is %s, saying what it takes", (_, type, input) => {
    expect(() => readWord(type, input, "x.y")).toThrow(ParameterError);
    expect(() => readWord(type, input, "x.y")).toThrow(type.expects);
  });

  test("reads back what showWord() wrote", () => {
    assert(property(bigInt(0n, 0xffff_ffff_ffff_ffffn), (word) => agrees(u64, word)));
    assert(property(bigInt(0n, 0xffff_ffffn), (word) => agrees(i32, word)));
    assert(property(stringMatching(/^[A-Za-z0-9_-]{1,20}$/), (name) => readBack(text(20), name) === name));
    // Rates are shown in Mbit/s with six digits.
    assert(property(bigInt(1n, 32_000n), (mbit) => agrees(rate, mbit * 125_000n)));
  });
});

describe("readConstant()", () => {
  test("keeps an address's family and a prefix's length", () => {
    expect(readConstant(address, "10.0.0.1", "x.y")).toMatchObject({ family: 4, length: 32, isAddress: true });
    expect(readConstant(prefix, "2001:db8::/32", "x.y")).toMatchObject({ family: 6, length: 32 });
    expect(readConstant(prefix, "2001:db8::1", "x.y")).toMatchObject({ family: 6, length: 128 });
  });

  test("rejects text that is no address, naming the parameter", () => {
    expect(() => readConstant(address, "10.0.0.256", "src.prefix")).toThrow(ParameterError);
    expect(() => readConstant(prefix, "10.0.0.0/-1", "src.prefix")).toThrow(/src\.prefix/);
  });
});
