import { describe, expect, test } from "vitest";
import { UsageError } from "../errors.ts";
import { parseStrategy, parseTarget } from "./stack-strategy.ts";

describe("parseTarget()", () => {
  test("reads tokens as watch prints them", () => {
    expect(parseTarget("1a2b3c4d")).toEqual({ token: 0x1a2b3c4d });
    expect(parseTarget("0x0000CAFE")).toEqual({ token: 0xcafe });
  });

  test("reads a subflow by its ends, this host's first", () => {
    expect(parseTarget("10.0.1.1:40000,10.0.9.1:443")).toEqual({
      local: { address: "10.0.1.1", port: 40_000 },
      remote: { address: "10.0.9.1", port: 443 },
    });
    expect(parseTarget("[2001:db8::1]:1, [2001:db8::2]:2")).toEqual({
      local: { address: "2001:db8::1", port: 1 },
      remote: { address: "2001:db8::2", port: 2 },
    });
  });

  test.each([[""], ["123456789"], ["10.0.0.1:80"], ["10.0.0.1,10.0.0.2"], [":80,:90"], ["a:1,b:2"]])(
    "rejects %j",
    (text) => {
      expect(() => parseTarget(text)).toThrow(UsageError);
    },
  );
});

describe("parseStrategy()", () => {
  test.each([
    ["window", "64kB", { kind: "window", windowBytes: 64_000 }],
    ["window", "1.5MiB", { kind: "window", windowBytes: 1_572_864 }],
    ["rate", "20mbit", { kind: "rate", rateBytesPerSecond: 2_500_000 }],
    ["weight", "70", { kind: "weight", weight: 70 }],
    ["credit", "123", { kind: "credit", creditBytes: 123 }],
    ["coupled", "lia", { kind: "coupled", algorithm: "lia" }],
    ["none", undefined, { kind: "none" }],
  ])("reads %s %s", (kind, amount, strategy) => {
    expect(parseStrategy(kind, amount)).toEqual(strategy);
  });

  test.each([
    ["window", undefined],
    ["window", "64 parsec"],
    ["rate", undefined],
    ["weight", "-1"],
    ["weight", "1.5"],
    ["coupled", undefined],
    ["none", "3"],
    ["magic", "3"],
  ])("rejects %s %s", (kind, amount) => {
    expect(() => parseStrategy(kind, amount)).toThrow(UsageError);
  });
});
