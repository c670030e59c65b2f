import { describe, expect, test } from "vitest";
import { ActorChain, SelectorChain } from "./compose.ts";
import { matchPolicies } from "./carry.ts";
import { describeExpression, showSelector } from "./description.ts";
import { enabledPart } from "./expression.ts";
import { ParameterError } from "./inputs.ts";

const show = (chain: SelectorChain) => showSelector(describeExpression(chain.expression));
const src = (prefix: string) => ["src", { prefix }] as const;
const type = (word: string) => ["packet_type", { type: word }] as const;

/** src and not (data or fin) */
const nested = () =>
  new SelectorChain()
    .select(...src("10.0.0.1"))
    .exclude(new SelectorChain().select(...type("data")).or(...type("fin")));

describe("SelectorChain", () => {
  test("insert() joins by the operator that the selector stands in", () => {
    expect(show(nested().insert(3, ...type("rst")))).toBe(
      "src(prefix=10.0.0.1) and not (packet_type(type=data) or packet_type(type=rst) or packet_type(type=fin))",
    );
    expect(show(nested().insert("src", ...type("rst")))).toMatch(/^packet_type\(type=rst\) and src/);
    expect(show(new SelectorChain().insert(1, ...src("::1")))).toBe("src(prefix=::1)");
    const either = () => new SelectorChain().select(...src("10.0.0.1")).or(...src("10.0.0.2"));
    expect(show(either().insert(3, ...type("rst")))).toMatch(/ or packet_type\(type=rst\)$/);
  });

  test("remove() takes what holds nothing any more with it", () => {
    expect(show(nested().remove(3))).toBe("src(prefix=10.0.0.1) and not packet_type(type=data)");
    expect(show(nested().remove(3).remove(2))).toBe("src(prefix=10.0.0.1)");
    expect(show(nested().remove(3).remove(2).remove(1))).toBe("any TCP packet");
  });

  test("replace() and set() leave the rest as it is", () => {
    expect(show(nested().replace(2, "dst", { prefix: "::/0" }))).toMatch(/not \(dst\(prefix=::\/0\) or packet_type/);
    expect(show(nested().set(1, { prefix: "10.0.0.9" }))).toMatch(/^src\(prefix=10.0.0.9\) and not/);
  });

  test("disable() decides as if the selector were not there, enable() brings it back", () => {
    const selectors = nested().disable(2).disable(3);
    expect(showSelector(describeExpression(enabledPart(selectors.expression)))).toBe("src(prefix=10.0.0.1)");
    expect(show(selectors.enable(2).enable(3))).toBe(show(nested()));
  });

  test.each([
    ["a name that stands twice", () => nested().remove("packet_type"), /several; say which by its number/],
    ["a number that is none", () => nested().remove(4), /Cannot find selector 4: there are 1 src, 2 packet_type/],
    ["a value that is none", () => nested().set(1, { prefix: "10.0.0.0/33" }), /src\.prefix/],
    ["an empty chain", () => new SelectorChain().disable(1), /there is no selector/],
  ])("refuses %s", (_, change, message) => {
    expect(change).toThrow(ParameterError);
    expect(change).toThrow(message);
  });
});

const chain = () => new ActorChain().add("rate_limit", { rate: "10mbit" }).add("record").add("blk_subflow");
const names = (actors: ActorChain) => actors.entries.map(({ policy }) => policy.name);

describe("ActorChain", () => {
  test("puts actors where it is told", () => {
    expect(names(chain().insert("record", "record"))).toEqual(["rate_limit", "record", "record", "blk_subflow"]);
    expect(names(chain().insert(4, "record"))).toEqual(["rate_limit", "record", "blk_subflow", "record"]);
    expect(names(chain().move("blk_subflow", 1))).toEqual(["blk_subflow", "rate_limit", "record"]);
    expect(names(chain().move(1, 3))).toEqual(["record", "blk_subflow", "rate_limit"]);
    expect(names(chain().remove(2).replace("rate_limit", "record"))).toEqual(["record", "blk_subflow"]);
  });

  test("set() keeps the parameters that are not named, and how an actor is done", () => {
    const [entry] = new ActorChain()
      .add("rate_limit", { rate: "10mbit", per: "subflow" })
      .set(1, { rate: "1mbit" }).entries;
    expect(entry).toMatchObject({ inputs: { rate: "1mbit" }, per: "subflow" });
  });

  test("refuses values that are none, and places that are none", () => {
    expect(() => chain().set("rate_limit", { rate: "1kbit" })).toThrow(/rate_limit\.rate/);
    expect(() => chain().set("rate_limit", { rat: "1mbit" })).toThrow(/no parameter rat/);
    expect(() => chain().move(1, 4)).toThrow(/Cannot find actor 4/);
  });
});

const one = (identity: string, rate: string, origin?: number) => ({ identity, inputs: { rate }, origin });

test("matchPolicies() finds what goes on: by where it was, then by what it was given, then in order", () => {
  const old = [one("limit", "1"), one("limit", "2"), one("record", "")];
  expect(matchPolicies(old, [one("limit", "9", 1), one("record", "", 2)])).toEqual([1, 2]);
  expect(matchPolicies(old, [one("record", ""), one("limit", "2"), one("limit", "3")])).toEqual([2, 1, 0]);
  expect(matchPolicies(old, [one("other", "1", 0), one("limit", "7")])).toEqual([undefined, 0]);
});
