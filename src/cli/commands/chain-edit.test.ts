import { expect, test } from "vitest";
import { UsageError } from "../errors.ts";
import { readPolicy } from "./chain-edit.ts";

test("readPolicy() reads a built-in policy or one of a file, with its parameters", () => {
  expect(readPolicy(["rate_limit", "rate=10mbit"])).toEqual({ name: "rate_limit", inputs: { rate: "10mbit" } });
  expect(readPolicy(["./mine.ts:halve"])).toEqual({ file: "./mine.ts", name: "halve", inputs: {} });
});

test.each([[[]], [[""]], [["rate_limit", "10mbit"]], [["rate_limit", "rate=1", "rate=2"]]])(
  "readPolicy() rejects %j",
  (words) => {
    expect(() => readPolicy(words)).toThrow(UsageError);
  },
);
