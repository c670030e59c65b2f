import { describe, expect, it } from "vitest";
import { actorChains, selectorChains } from "./testing/chains.ts";
import { canTestRun, generatedFrames } from "./testing/frames.ts";
import { KernelRunner } from "./testing/kernel-runner.ts";
import { chain, type ChainOptions } from "./testing/policy-harness.ts";
import { rememberers, segmentMakers } from "./testing/segment-makers.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const frames = generatedFrames(150, 12);

describe.each(["xdp", "tcx_ingress", "tcx_egress"] as const)("linked and fused agree in the kernel, on %s", (hook) => {
  const own: Readonly<Record<string, ChainOptions>> = {
    ...(hook !== "xdp" && {
      "all that packets can do": { source: segmentMakers, actors: [...segmentMakers.policies.keys()] },
    }),
    "notes left for others": { source: rememberers, select: "odd", actors: ["grow", "tell", "grow", "tell"] },
  };

  // Selectors read packets as they do fused, whatever the hook; what differs is how one hands over to the next.
  const selectors = hook === "tcx_ingress" ? selectorChains : {};

  it.each(Object.entries({ ...actorChains, ...selectors, ...own }))("%s", (_name, options) => {
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
