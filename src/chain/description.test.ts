import { expect, test } from "vitest";
import { ActorChain, SelectorChain } from "./compose.ts";
import {
  decodeDescription,
  describeExpression,
  encodeDescription,
  plainParameter,
  type ChainDescription,
} from "./description.ts";
import { readWord } from "./inputs.ts";
import { PolicyChain } from "./policy-chain.ts";

const selectors = new SelectorChain().select("dst", { prefix: "10.0.0.0/8" });
const { layout } = new PolicyChain(selectors, new ActorChain().add("rate_limit", { rate: "1mbit" }), {
  interfaces: ["a"],
}).compile();

const description: ChainDescription = {
  version: 2,
  name: "limit",
  generation: 1,
  options: { interfaces: ["eth0"] },
  selector: describeExpression(selectors.expression),
  actors: [{ name: "rate_limit", note: "ümlaut", given: { name: "rate_limit", inputs: { rate: "1mbit" } } }],
  attachments: [{ hook: "tcx_ingress", interface: "eth0", interfaceIndex: 2, pin: "link_tcx_ingress_2" }],
  netns: { inode: 4_026_531_840 },
  layout: { ...layout, parameters: layout.parameters.map((slot) => ({ ...slot, type: plainParameter(slot.type) })) },
  submitted: "2026-01-10T12:00:00.000Z",
};

test("decodeDescription() reads back what encodeDescription() wrote, also from a longer map value", () => {
  const bytes = encodeDescription(description);
  expect(decodeDescription(bytes)).toEqual(description);
  expect(decodeDescription(Uint8Array.of(...bytes, 0, 0, 0, 0))).toEqual(description);
});

test("a parameter's range is checked after it was written and read", () => {
  const { layout: read } = decodeDescription(encodeDescription(description));
  const { type } = read.parameters[0];
  expect(readWord(type, "2mbit", "rate_limit.rate")).toBe(250_000n);
  expect(() => readWord(type, "64gbit", "rate_limit.rate")).toThrow(/rate_limit\.rate/);
});

test.each([["{}"], ["not JSON"], ['{"version":9}']])("decodeDescription() rejects %s", (text) => {
  expect(() => decodeDescription(new TextEncoder().encode(text))).toThrow(SyntaxError);
});
