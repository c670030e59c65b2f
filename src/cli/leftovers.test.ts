import { expect, test } from "vitest";
import { describeLeftovers, type Leftovers } from "./leftovers.ts";

const nothing: Leftovers = {
  labs: [],
  chains: [],
  halfChains: [],
  halfActors: [],
  actors: [],
  state: [],
  strategies: [],
};

test("describeLeftovers() says nothing where there is nothing", () => {
  expect(describeLeftovers(nothing)).toEqual([]);
});

test("describeLeftovers() names each thing, and what it is left of", () => {
  const lines = describeLeftovers({
    labs: [{ runId: "p1", pid: 1, namespaces: ["client", "server"] }],
    chains: ["lost"],
    halfChains: [
      { name: "phones", undertaking: "change" },
      { name: "host_cong_strategies", undertaking: "submit" },
    ],
    halfActors: [{ name: "gentle", undertaking: "remove" }],
    actors: ["trial"],
    state: ["subflow_metrics"],
    strategies: [{ token: 0xcafe }],
  });
  expect(lines.join("\n")).toBe(
    [
      "a half-made change of chain phones",
      "the half-made shared state cong_strategies",
      "the rest of congestion control gentle: its removal was cut short",
      "congestion control trial, whose process is gone",
      "chain lost, whose network namespace is gone or a dead lab's",
      "shared state subflow_metrics, which nothing uses",
      "the strategy of token 0000cafe, which is gone",
      "client, server, of lab process 1",
    ].join("\n"),
  );
});

test("describeLeftovers() counts strategies where they are many", () => {
  const strategies = Array.from({ length: 100 }, (_, token) => ({ token }));
  expect(describeLeftovers({ ...nothing, strategies })).toEqual(["100 strategies of connections that are gone"]);
});
