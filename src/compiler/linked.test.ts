import { describe, expect, it } from "vitest";
import { generatedFrames } from "./testing/frames.ts";
import { actorChains, selectorChains } from "./testing/chains.ts";
import { chain } from "./testing/policy-harness.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const frames = generatedFrames(600, 11);

describe.each(["xdp", "tcx_ingress", "tcx_egress"] as const)(
  "a linked chain means what the fused one means, on %s",
  (hook) => {
    it.each(Object.entries({ ...actorChains, ...selectorChains }))("%s", (_name, options) => {
      const [fused, linked] = (["fused", "linked"] as const).map((mode) => chain({ ...options, mode }).vm(hook));
      for (const frame of frames) {
        const [left, right] = [fused, linked].map((vm) => {
          const { verdict, packet } = vm.run(frame);
          return { verdict, packet: hex(packet), ...vm.counters() };
        });
        if (JSON.stringify(left) !== JSON.stringify(right)) expect(right, hex(frame)).toEqual(left);
      }
      expect(linked.state()).toEqual(fused.state());
      expect(linked.counters().seen).toBeGreaterThan(100);
    });
  },
);
