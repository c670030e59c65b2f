import { describe, expect, it } from "vitest";
import { rateLimit } from "../policies/index.ts";
import { address, choice, prefix, rate, selector, text, u16, u32, u8, within } from "../policy/index.ts";
import { ActorChain, MemberSet, PolicyChain, SelectorChain } from "./index.ts";
import { decodeMember, encodeMembers } from "./members.ts";

const phones = (members: readonly Record<string, string | number>[] = [], max?: number) =>
  new MemberSet("src", { name: "phones", params: { rate }, members, ...(max !== undefined && { max }) });
const limited = (set: MemberSet) => new ActorChain().add("rate_limit", { rate: set.param("rate" as never) });

const member = (host: number) => ({ prefix: `10.0.0.${host}`, rate: "5mbit" });
const chain = (selectors: SelectorChain, actors: ActorChain) =>
  new PolicyChain(selectors, actors, { interfaces: ["none"] });

describe("MemberSet", () => {
  it.each<[string, Record<string, string | number>, RegExp]>([
    [
      "a wrong address",
      { prefix: "10.0.0.300", rate: "5mbit" },
      /member 2 .*prefix=10\.0\.0\.300 rate=5mbit.*10\.0\.0\.300/,
    ],
    ["bits behind the prefix", { prefix: "10.0.0.1/24", rate: "5mbit" }, /member 2 .*the prefix is 10\.0\.0\.0\/24/],
    ["a wrong parameter", { prefix: "10.0.0.1", rate: "fast" }, /member 2 .*rate.*takes a rate/],
    ["a parameter too many", { prefix: "10.0.0.1", rate: "5mbit", window: 5 }, /member 2 .*no window.*prefix, rate/],
    ["a parameter too few", { prefix: "10.0.0.1" }, /member 2 .*rate is missing/],
  ])("says which member is wrong and why: %s", (_, member, message) => {
    expect(() => phones([{ prefix: "10.0.0.1", rate: "5mbit" }, member])).toThrow(message);
  });

  it("says that a member is no record", () => {
    expect(() => phones([null as never])).toThrow(/member 1 .*\(null\).*prefix is missing/);
  });

  it("counts members that are the same once, and refuses more than there can be", () => {
    expect(phones([member(1), member(1), member(2)], 2).members).toHaveLength(3);
    expect(() => phones([member(1), member(2), member(3)], 2)).toThrow(/given 3 members, and can have 2/);
  });

  it.each<[string, () => unknown, RegExp]>([
    ["a selector that says nothing of members", () => new MemberSet("packet_type"), /packet_type.*member\(packet\)/],
    ["an unknown selector", () => new MemberSet("phone"), /Cannot find selector "phone"/],
    ["a name that is none", () => new MemberSet("src", { name: "my phones" }), /a name is made of/],
    ["no room at all", () => new MemberSet("src", { max: 0 }), /1 to 16777216 members, not 0/],
    [
      "a parameter of the selector's",
      () => new MemberSet("src", { params: { prefix: u8 } }),
      /prefix is the selector's own/,
    ],
    [
      "a constant that members have",
      () => new MemberSet("port", { constants: { port: 1, side: "local" } }),
      /each member has its own/,
    ],
    ["an unknown constant", () => new MemberSet("src", { constants: { side: "local" } }), /no parameter side/],
    ["a wrong constant", () => new MemberSet("port", { constants: { side: "left" } }), /one of local, remote, either/],
  ])("refuses %s", (_, make, message) => {
    expect(make).toThrow(message);
  });

  it("refuses prefixes beside anything else that makes a member", () => {
    const mixed = selector({
      name: "mixed",
      params: { prefix, port: u16 },
      run: () => true,
      member: ({ ip, flow }) => ({ prefix: ip.source, port: flow.localPort }),
    });
    expect(() => new MemberSet(mixed)).toThrow(/only thing/);
  });

  it("needs a constant for every word that has no fallback", () => {
    const sided = selector({
      name: "sided",
      params: { peer: address, side: choice("near", "far") },
      run: () => true,
      member: ({ flow }) => ({ peer: flow.remote }),
    });
    expect(() => new MemberSet(sided)).toThrow(/sided\.side is missing.*near, far/);
    expect(new MemberSet(sided, { constants: { side: "near" } }).constants).toEqual({ side: "near" });
  });

  it("says which parameters its members have", () => {
    expect(() => phones().param("window" as never)).toThrow(/no|Cannot find parameter window of the set phones.*rate/);
  });
});

describe("members", () => {
  it.each(["10.0.0.0/8", "10.1.2.3", "0.0.0.0/0", "fd00::/17", "::/0", "fd00::1", "::ffff:10.0.0.0/112"])(
    "of a set of prefixes come back as they were given: %s",
    (text) => {
      const { slot } = phones();
      const [encoded] = encodeMembers(slot, [{ prefix: text, rate: "5mbit" }], "add");
      expect(decodeMember(slot, encoded)).toEqual({ prefix: text, rate: "5mbit" });
    },
  );

  it("of a set of subflows come back as they were given, IPv4-mapped ones as IPv4", () => {
    const { slot } = new MemberSet("subflow", { params: { window: u32 } });
    const member = {
      local: "fd00::1",
      remote: "10.0.0.2",
      localPort: "443",
      remotePort: "65535",
      window: "4294967295",
    };
    const [encoded] = encodeMembers(slot, [{ ...member, remote: "::ffff:10.0.0.2" }], "add");
    expect(decodeMember(slot, encoded)).toEqual(member);
  });
});

describe("a chain with a set", () => {
  const set = phones();

  it("lets actors use the members of a set that must have matched", () => {
    const rst = ["packet_type", { type: "rst" }] as const;
    const [a, b] = [0, 1].map(() => new SelectorChain().select(...rst).select(set));
    for (const selectors of [new SelectorChain().select(set), a, a.or(b)])
      expect(() => chain(selectors, limited(set))).not.toThrow();
  });

  it.each<[string, SelectorChain, RegExp]>([
    ["OR", new SelectorChain().select(set).or("port", { port: 80 }), /behind OR or NOT/],
    ["NOT", new SelectorChain().exclude(set), /behind OR or NOT/],
    ["another chain", new SelectorChain().select("src", { prefix: "10.0.0.1" }), /not among the chain's selectors/],
    ["disabled", new SelectorChain().select(set).disable(1), /it is disabled/],
    [
      "another of its name",
      new SelectorChain().select(new MemberSet("src", { name: "phones", params: { rate: u16 } })),
      /another one of that name/,
    ],
  ])("refuses members of a set that may not have matched: %s", (_, selectors, message) => {
    expect(() => chain(selectors, limited(set))).toThrow(message);
  });

  it("keeps the set of a disabled selector for an actor that is disabled too, but compiles neither", () => {
    const disabled = chain(new SelectorChain().select(set).disable(1), limited(set).disable(1).add("record"));
    const { maps, programs, layout } = disabled.compile();
    expect(layout.sets).toMatchObject([{ name: "phones" }]);
    expect(Object.keys(maps)).toContain("set_phones");
    for (const program of Object.values(programs)) expect(Object.keys(program.maps)).not.toContain("set_phones");
  });

  it("refuses two sets of one name", () => {
    expect(() => chain(new SelectorChain().select(set).select(phones()), new ActorChain().add("record"))).toThrow(
      /two of its sets are called phones/,
    );
  });

  it("refuses a member's parameter of a type that the actor does not take", () => {
    const wide = new MemberSet("src", { params: { rate: within(rate, 0, 10) } });
    expect(() => limited(wide)).toThrow(/rate_limit\.rate to src\.rate: it takes a rate.*integer from 0 to 10/);
    const narrow = new MemberSet("src", { params: { rate: rateLimit.params.rate } });
    expect(() => limited(narrow)).not.toThrow();
    expect(() => new ActorChain().add("record", { rate: set.param("rate") })).toThrow(/no parameter rate/);
  });

  it("refuses names as parameters of members", () => {
    expect(() => new MemberSet("src", { params: { control: text(15) } })).toThrow(/the parameter control is a text/);
  });

  it("refuses parameters beside a set", () => {
    expect(() => new SelectorChain().select(set, { prefix: "10.0.0.0/8" })).toThrow(/its members have them/);
  });
});
