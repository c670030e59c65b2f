import { expect, test } from "vitest";
import { ActorChain, SelectorChain } from "./compose.ts";
import { arrangeCounters } from "./counters.ts";
import { describeExpression } from "./description.ts";
import { PolicyChain } from "./policy-chain.ts";

const selectors = new SelectorChain()
  .select("src", { prefix: "10.0.0.0/8" })
  .or("src", { prefix: "fd00::/8" })
  .exclude("packet_type", { type: "rst" });
const actors = new ActorChain().add("rate_limit", { rate: "1mbit" }).add("record");
const { layout } = new PolicyChain(selectors, actors, { interfaces: ["a"] }).compile();

/** One CPU's counters: those named, the others 0. */
function cpu(values: Readonly<Record<string, number>>): Uint8Array {
  const words = layout.counters.map((slot) => {
    const key =
      slot.kind === "matched"
        ? `matched${slot.selector}`
        : slot.kind === "seen" || slot.kind === "lost" || slot.kind === "unused"
          ? slot.kind
          : `${slot.kind}${"actor" in slot ? slot.actor : ""}${"reason" in slot ? slot.reason : ""}`;
    return BigInt(values[key] ?? 0);
  });
  return new Uint8Array(BigUint64Array.from(words).buffer);
}

const arrange = (...perCpu: Uint8Array[]) =>
  arrangeCounters(perCpu, layout, describeExpression(selectors.expression), [
    { name: "rate_limit" },
    { name: "record" },
  ]);

test("arrangeCounters() tells what each selector was asked and what the whole chain matched", () => {
  const { seen, matched, selectors: rows } = arrange(cpu({ seen: 100, matched0: 30, matched1: 20, matched2: 5 }));
  expect(seen).toBe(100);
  expect(rows).toEqual([
    { name: "src", seen: 100, matched: 30 },
    { name: "src", seen: 70, matched: 20 },
    { name: "packet_type", seen: 50, matched: 5 },
  ]);
  expect(matched).toBe(45);
});

test("arrangeCounters() adds up the CPUs", () => {
  const one = cpu({ seen: 1, matched0: 1, acted0: 1, cannot0unknown_scale: 2 });
  const { seen, actors: rows } = arrange(one, one, one);
  expect(seen).toBe(3);
  expect(rows[0]).toMatchObject({
    name: "rate_limit",
    seen: 3,
    acted: 3,
    cannot: { unknown_scale: 6 },
  });
});

test("arrangeCounters() reads values that do not start at their buffer's start", () => {
  const value = cpu({ seen: 7 });
  const shifted = new Uint8Array(value.length + 16);
  shifted.set(value, 16);
  expect(arrange(shifted.subarray(16)).seen).toBe(7);
});
