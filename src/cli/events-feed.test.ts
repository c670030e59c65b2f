import { expect, test } from "vitest";
import { nameEvent } from "./events-feed.ts";
import type { ChainDescription } from "../chain/index.ts";

const chain = {
  name: "joins",
  selector: {
    op: "and",
    terms: [
      { op: "policy", name: "dst", params: {} },
      { op: "not", term: { op: "policy", name: "known", params: {} } },
    ],
  },
  actors: [{ name: "first" }, { name: "second" }],
} as unknown as ChainDescription;

const event = (kind: "selector" | "actor", index: number, timeNs: bigint) => ({
  name: "joined",
  policy: { kind, index },
  timeNs,
  local: "10.0.0.1",
  remote: "10.0.0.2",
  localPort: 1,
  remotePort: 2,
  fields: { token: 7 },
});

const policyOf = (kind: "selector" | "actor", index: number) => nameEvent(event(kind, index, 0n), chain).policy;

test("nameEvent() names the policy that emitted an event, also a selector within an expression", () => {
  expect([policyOf("actor", 1), policyOf("selector", 0), policyOf("selector", 1)]).toEqual(["second", "dst", "known"]);
});

test("nameEvent() tells when it was by the clock on the wall", () => {
  const agoMs = 5000;
  const { timeMs } = nameEvent(event("actor", 0, process.hrtime.bigint() - BigInt(agoMs * 1e6)), chain);
  expect(Math.abs(Date.now() - agoMs - timeMs)).toBeLessThan(1000);
});
