import { expect, it } from "vitest";
import { makeFrame } from "../compiler/testing/packets.ts";
import { chain } from "../compiler/testing/policy-harness.ts";

const ports = [443, 5001, 80];

it.each([
  ["local", undefined, [443]],
  ["remote", undefined, [5001]],
  ["either", undefined, [443, 5001]],
  ["either, unless told otherwise", "default", [443, 5001]],
] as const)("port matches by side, the same in both directions: %s", (name, given, expected) => {
  const side = given === "default" ? {} : { side: name };
  const matched = (hook: "tcx_ingress" | "tcx_egress", sourcePort: number, destinationPort: number): number[] =>
    ports.filter((port) => {
      const vm = chain({ select: ["port", { port, ...side }] }).vm(hook);
      vm.run(makeFrame({ tcp: { sourcePort, destinationPort } }));
      return vm.counters().matched[0] === 1;
    });
  expect(matched("tcx_ingress", 5001, 443)).toEqual(expected);
  expect(matched("tcx_egress", 443, 5001)).toEqual(expected);
});
