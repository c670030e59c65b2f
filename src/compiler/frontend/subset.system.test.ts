import { describe, expect, it } from "vitest";
import { capturedFrames } from "../testing/frames.ts";
import { KernelRunner } from "../testing/kernel-runner.ts";
import { oddPolicies } from "../testing/odd-policies.ts";
import { chain } from "../testing/policy-harness.ts";
import { policySource } from "../testing/policy-source.ts";
import { diagnosticsOf } from "../testing/refusals.ts";

const accepted = oddPolicies.filter(([, text]) => diagnosticsOf(text).length === 0);
const [frame] = capturedFrames();

describe("what the compiler accepts, the verifier accepts", () => {
  it.each(accepted)("%s", (_, text) => {
    const source = policySource(text);
    const policy = source.policies.get("test")!;
    const inputs = { number: 3, wide: 5, flag: true, word: "one" };
    const use = ["test", Object.keys(policy.params).length > 0 ? inputs : {}] as const;
    const tested = chain(policy.kind === "selector" ? { source, select: use } : { source, actors: [use] });
    using kernel = new KernelRunner(tested, "xdp");
    kernel.run(frame);
    expect(kernel.counters().seen).toBe(1);
  });
});
