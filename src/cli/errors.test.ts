import { expect, test } from "vitest";
import { CompileError } from "../compiler/index.ts";
import { explainVerifierLog } from "../linux/index.ts";
import { CommandError, describeError } from "./errors.ts";

const position = { file: "chain.ts", line: 7, column: 3, text: "  while (true) {}" };
const diagnostic = (message: string) => ({ code: "EM1004", message, advice: "Bound the loop", position });

test("describeError() shows every diagnostic of a chain that does not compile", () => {
  const text = describeError(new CompileError([diagnostic("The first thing"), diagnostic("The second thing")]));
  expect(text).toContain("2 things to change");
  expect(text).toContain("chain.ts:7:3 - EM1004: The first thing");
  expect(text).toContain("chain.ts:7:3 - EM1004: The second thing");
});

test("describeError() keeps the verifier's log behind a flag", () => {
  const log = "0: (b7) r0 = 0\n1: (61) r2 = *(u32 *)(r1 +999)\ninvalid bpf_context access off=999 size=4\n";
  const error = explainVerifierLog(log, { name: "probe", instructions: [] });
  const logged = "r2 = *(u32 *)(r1 +999)";
  expect(describeError(error)).not.toContain(logged);
  expect(describeError(error)).toContain("--log-verifier");
  expect(describeError(error, { verifierLog: true })).toContain(logged);
});

test("describeError() shows stacks only when asked", () => {
  const error = new TypeError("x is not a function");
  expect(describeError(error)).not.toContain("errors.test.ts");
  expect(describeError(error)).toContain("EMPTCP_DEBUG=1");
  expect(describeError(error, { debug: true })).toContain("errors.test.ts");
});

test("describeError() adds nothing to an error made for people", () => {
  expect(describeError(new CommandError("Cannot read lab.json: it is empty"))).toBe(
    "emptcp: Cannot read lab.json: it is empty",
  );
});
