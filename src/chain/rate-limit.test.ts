import { describe, expect, test } from "vitest";
import { capWindow } from "../policies/index.ts";
import { ActorChain, MemberSet, PolicyChain, SelectorChain, type ChainOptions } from "./index.ts";

// Loopback's address is this host's wherever the tests run, the ones for documentation (RFC 5737) are nobody's.
const here = { local: "127.0.0.1", remote: "192.0.2.2", localPort: 1, remotePort: 2 };
const elsewhere = { ...here, local: "192.0.2.1" };
const any = () => new SelectorChain();
const [own, foreign] = [any().select("subflow", here), any().select("subflow", elsewhere)];
const byRate = { rate: "1mbit" };

function choose(selectors: SelectorChain, inputs: object = byRate, options: ChainOptions = { interfaces: ["a"] }) {
  const [{ name, note, given }] = new PolicyChain(selectors, new ActorChain().add("rate_limit", inputs), options).plan()
    .actors;
  expect(given.name).toBe("rate_limit");
  return { name, note };
}

describe("rate_limit", () => {
  const set = (members: object[]) => any().select(new MemberSet("subflow", { members: members as never }));
  test.each<[string, string, SelectorChain, object, ChainOptions, string, RegExp]>([
    ["a connection", "the window", any(), byRate, { interfaces: ["a"] }, "rate_limit", /per connection.*all its/],
    ["a connection", "a fixed window", any(), { window: 9000 }, { interfaces: ["a"] }, "cap_window", /cap_window/],
    ["one subflow of this host", "pacing", own, byRate, {}, "pace", /ends at this host/],
    ["one of two subflows of this host", "pacing", any().select(own).or(own), byRate, {}, "pace", /ends at this host/],
    [
      "one subflow of this host, named twice",
      "pacing",
      any().select("ip_pair", { local: "127.0.0.1", remote: "192.0.2.2" }).select(own),
      byRate,
      {},
      "pace",
      /ends at this host/,
    ],
    ["what arrives", "a policer", own, byRate, { interfaces: ["a"], direction: "ingress" }, "police", /arrives/],
    ["a subflow that passes", "a policer", foreign, byRate, { interfaces: ["a"] }, "police", /no interface of this/],
    [
      "a set of subflows of this host",
      "pacing",
      set([here, { ...here, localPort: 2 }]),
      byRate,
      {},
      "pace",
      /ends at this host/,
    ],
    ["a set of others", "a policer", set([elsewhere]), byRate, { interfaces: ["a"] }, "police", /no interface of this/],
    ["an empty set", "a policer, on interfaces", set([]), byRate, { interfaces: ["a"] }, "police", /anywhere/],
    ["an empty set", "pacing, without any", set([]), byRate, {}, "pace", /only this host's/],
    [
      "this host's and another's",
      "a policer",
      any().select(own).or(foreign),
      byRate,
      { interfaces: ["a"] },
      "police",
      /not the same for all/,
    ],
    [
      "each subflow between two addresses",
      "pacing",
      any().select("ip_pair", { local: "127.0.0.1", remote: "192.0.2.2" }),
      { ...byRate, per: "subflow" },
      {},
      "pace",
      /ends at this host/,
    ],
    ["all but one subflow", "the window", any().exclude(own), byRate, { interfaces: ["a"] }, "rate_limit", /window/],
    [
      "a prefix or one subflow",
      "the window",
      any().select("src", { prefix: "::/0" }).or(own),
      byRate,
      { interfaces: ["a"] },
      "rate_limit",
      /window/,
    ],
    [
      "one subflow that is a whole connection",
      "a fixed window",
      own,
      { window: 9000, per: "connection" },
      { interfaces: ["a"] },
      "cap_window",
      /per connection/,
    ],
  ])("limits %s by %s, and says why", (_what, _how, selectors, inputs, options, name, note) => {
    const chosen = choose(selectors, inputs, options);
    expect(chosen.name).toBe(name);
    expect(chosen.note).toMatch(note);
  });

  test.each<[string, () => unknown, RegExp]>([
    ["the window of one subflow", () => choose(own, { window: 9000 }), /subflows share.*Give a rate/],
    ["a window per subflow", () => choose(any(), { window: 9000, per: "subflow" }), /subflows share/],
    ["neither rate nor window", () => choose(any(), {}), /rate or window is missing/],
    ["both of them", () => choose(any(), { ...byRate, window: 9000 }), /give one of them/],
    ["a policer that sees no packets", () => choose(foreign, byRate, {}), /no interface;.*no interface of this host/],
    [
      "packets that leave by XDP",
      () => choose(foreign, byRate, { interfaces: ["a"], hook: "xdp", direction: "egress" }),
      /XDP sees only packets that arrive|egress only/,
    ],
  ])("refuses %s", (_, compose, message) => {
    expect(compose).toThrow(message);
  });

  test("takes the window of the member matched", () => {
    const phones = new MemberSet("src", { name: "phones", params: { window: capWindow.params.window } });
    expect(choose(any().select(phones), { window: phones.param("window") }).name).toBe("cap_window");
  });
});
