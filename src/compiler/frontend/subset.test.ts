import { describe, expect, it } from "vitest";
import { capturedFrames } from "../testing/frames.ts";
import { oddPolicies } from "../testing/odd-policies.ts";
import { chain } from "../testing/policy-harness.ts";
import { policySource } from "../testing/policy-source.ts";
import { diagnosticsOf } from "../testing/refusals.ts";

const frames = capturedFrames();

describe("compileChain() refuses with a numbered diagnostic, or makes a program that runs", () => {
  it.each(oddPolicies)("%s", (_, text) => {
    const found = diagnosticsOf(text);
    for (const { code, message, advice, position } of found) {
      expect(code).toMatch(/^EM10\d\d$/);
      expect(message + advice).not.toMatch(/\$\d|undefined undefined|\[object/);
      expect(position.line).toBeGreaterThan(0);
    }
    if (found.length > 0) return;
    const source = policySource(text);
    const use = ["test", { number: 3, wide: 5, flag: true, word: "one" }] as const;
    const policy = source.policies.get("test")!;
    const tested = chain(
      policy.kind === "selector"
        ? { source, select: "test" }
        : { source, actors: [Object.keys(policy.params).length > 0 ? use : "test"] },
    );
    const vm = tested.vm();
    for (const frame of frames) vm.run(frame);
    expect(vm.counters().seen).toBe(frames.length);
  });
});
