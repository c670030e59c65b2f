import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import {
  actor,
  choice,
  flows,
  known,
  min,
  rate,
  readRate,
  selector,
  shared,
  socketActor,
  u16,
  u32,
  u8,
  within,
} from "./index.ts";

const here = fileURLToPath(import.meta.url);

describe("selector(), actor(), socketActor()", () => {
  it("describe a policy and name the file that defines it", () => {
    const mark = actor({ name: "mark", params: { value: u16 }, direction: "both", run() {} });
    expect(mark).toMatchObject({ kind: "actor", on: "packet", name: "mark", direction: "both", state: {} });
    expect(mark.module.replace("file://", "")).toBe(here);
    expect(selector({ name: "all", run: () => true })).toMatchObject({ kind: "selector", direction: "ingress" });
    expect(socketActor({ name: "slow", run() {} })).toMatchObject({ kind: "actor", on: "socket", direction: "egress" });
  });

  it.each(["", "Mark", "1st", "a-b", "a".repeat(33)])('refuse the name "%s"', (name) => {
    expect(() => actor({ name, run() {} })).toThrow(/^Cannot define actor/);
  });
});

describe("functions of the language", () => {
  it("say that they are only compiled when they are called as JavaScript", () => {
    expect(() => min(1, 2)).toThrow("Cannot call min() here");
    expect(() => u16(5)).toThrow("Cannot call u16() here");
  });
});

describe("readRate()", () => {
  it.each<[unknown, bigint | undefined]>([
    ["10mbit", 1_250_000n],
    ["2.5 Gbit/s", 312_500_000n],
    ["8kbps", 1000n],
    ["800", 100n],
    [8_000_000, 1_000_000n],
    ["fast", undefined],
    ["10 parsec", undefined],
    ["-5mbit", undefined],
    [undefined, undefined],
  ])("reads %s as %s bytes per second", (input, expected) => {
    expect(readRate(input)).toBe(expected);
  });

  it("is what a rate parameter is measured in", () => {
    expect(rate).toMatchObject({ unit: "bytesPerSecond", minimum: 1000n });
  });
});

describe("within() and choice()", () => {
  it("say what they expect, in words", () => {
    expect(within(u32, 5, 10)).toMatchObject({ minimum: 5n, maximum: 10n, expects: "an integer from 5 to 10" });
    expect(u32.maximum).toBe(0xffff_ffffn);
    expect(choice("a", "b").expects).toBe("one of a, b");
  });
});

describe("flows() and shared()", () => {
  it("describe records by their fields' types, sizes and seeds", () => {
    expect(flows({ count: u32, scale: known(u8, "windowScale") }, 10)).toEqual({
      kind: "flows",
      fields: { count: "u32", scale: "u8" },
      seeds: { scale: "windowScale" },
      maxEntries: 10,
    });
    expect(shared({ count: u32 })).toMatchObject({ kind: "shared", maxEntries: 1 });
  });

  it("refuse fields that are no integers", () => {
    expect(() => flows({ word: choice("a") as never })).toThrow("State field word is not an integer type");
  });
});
