import { describe, expect, it } from "vitest";
import { actorChains, selectorChains } from "./testing/chains.ts";
import { canTestRun, generatedFrames } from "./testing/frames.ts";
import { KernelRunner } from "./testing/kernel-runner.ts";
import { chain } from "./testing/policy-harness.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const frames = generatedFrames(300, 12);

describe.each(["xdp", "tcx_ingress", "tcx_egress"] as const)("linked and fused agree in the kernel, on %s", (hook) => {
  it.each(Object.entries({ ...actorChains, ...selectorChains }))("%s", (_name, options) => {
    using fused = new KernelRunner(chain(options), hook);
    using linked = new KernelRunner(chain({ ...options, mode: "linked" }), hook);
    for (const frame of frames.filter((one) => canTestRun(one, hook))) {
      const [left, right] = [fused, linked].map((runner) => {
        const { verdict, packet } = runner.run(frame);
        return { verdict, packet: hex(packet), ...runner.counters() };
      });
      if (JSON.stringify(left) !== JSON.stringify(right)) expect(right, hex(frame)).toEqual(left);
    }
  });
});
