import { expect, test } from "vitest";
import { UsageError } from "../errors.ts";
import { parseAssignments } from "./chain-change.ts";

test("parseAssignments() gathers an actor's parameters, and keeps = in values", () => {
  expect(parseAssignments(["rate_limit.rate=5mbit", "2.a=x=y", "rate_limit.burst="])).toEqual([
    ["rate_limit", { rate: "5mbit", burst: "" }],
    ["2", { a: "x=y" }],
  ]);
});

test.each([["rate=5mbit"], ["rate_limit.rate"], ["=5"], ["a.b"], [""]])("parseAssignments() rejects %j", (text) => {
  expect(() => parseAssignments([text])).toThrow(UsageError);
});

test("parseAssignments() rejects a parameter set twice", () => {
  expect(() => parseAssignments(["a.b=1", "a.b=2"])).toThrow(/a\.b twice/);
});
