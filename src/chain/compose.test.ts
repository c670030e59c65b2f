import { describe, expect, test } from "vitest";
import { ActorChain, SelectorChain } from "./compose.ts";
import { describeExpression, showSelector } from "./description.ts";
import { ParameterError } from "./inputs.ts";
import { ChainError } from "./errors.ts";
import { PolicyChain } from "./policy-chain.ts";

const show = (chain: SelectorChain) => showSelector(describeExpression(chain.expression));
const any = () => new SelectorChain();
const limit = () => new ActorChain().add("rate_limit", { rate: "1mbit" });
const limitOn = (options: object) => new PolicyChain(any(), limit(), { interfaces: ["a"], ...options }).compile();
const src = (prefix: string) => ["src", { prefix }] as const;

test("SelectorChain refuses parameters that do not go together", () => {
  const upTo = 1n << 32n;
  const wrong = { of: "subflow", from: 0, to: upTo };
  expect(() => any().select("sequence", wrong)).toThrow(/Cannot select by sequence: numbers of subflows have 32 bits/);
  expect(() => any().select("sequence", { ...wrong, to: upTo - 1n })).not.toThrow();
  expect(() => any().select("sequence", { ...wrong, of: "data" })).not.toThrow();
});

describe("SelectorChain", () => {
  test("matches every packet when it is fresh", () => {
    expect(show(any())).toBe("any TCP packet");
  });

  test("binds in the order of the calls, not by precedence", () => {
    const chain = any()
      .select(...src("10.0.0.0/8"))
      .or(...src("fd00::/8"))
      .select("packet_type", { type: "data" });
    expect(show(chain)).toBe("(src(prefix=10.0.0.0/8) or src(prefix=fd00::/8)) and packet_type(type=data)");
  });

  test("nests other chains", () => {
    const either = any()
      .select(...src("10.0.0.1"))
      .or(...src("10.0.0.2"));
    const chain = any().select("packet_type", { type: "data" }).exclude(either);
    expect(show(chain)).toBe("packet_type(type=data) and not (src(prefix=10.0.0.1) or src(prefix=10.0.0.2))");
  });

  test("does not change a chain that was nested in it", () => {
    const inner = any().select(...src("10.0.0.1"));
    any().select(inner).or("packet_type", { type: "fin" });
    expect(show(inner)).toBe("src(prefix=10.0.0.1)");
  });

  test.each([
    ["an unknown name", () => any().select("sorce"), /"sorce".*built-in ones are/],
    [
      "an actor",
      () => any().select(new ActorChain().add("record").entries[0].policy as never),
      /record: it is no selector/,
    ],
    ["a missing parameter", () => any().select("src"), /prefix is missing; give an IPv4 or IPv6 prefix/],
    ["an unknown parameter", () => any().select("src", { prefx: "10.0.0.0/8" }), /no parameter prefx/],
    ["a prefix that is none", () => any().select(...src("10.0.0.0/33")), /src\.prefix/],
    [
      "an address of another length",
      () => any().select("ip_pair", { local: "10.0.0", remote: "10.0.0.2" }),
      /ip_pair\.local/,
    ],
    ["a word that is no choice", () => any().select("packet_type", { type: "datum" }), /one of mptcp_syn/],
    [
      "a port out of range",
      () => any().select("subflow", { local: "::1", remote: "::1", localPort: 65_536, remotePort: 1 }),
      /subflow\.localPort.*0 to 65535/,
    ],
  ])("rejects %s at once", (_, compose, message) => {
    expect(compose).toThrow(message);
  });
});

describe("ActorChain", () => {
  test.each([
    ["a rate below the range", { rate: "7kbit" }, ParameterError],
    ["a rate above the range", { rate: "33gbit" }, ParameterError],
    ["a rate of nothing", { rate: "fast" }, ParameterError],
    ["no rate", {}, ParameterError],
    ["a rate and a window", { rate: "1mbit", window: 65_536 }, ParameterError],
    ["a window below the range", { window: 999 }, ParameterError],
    ["a word for per that means nothing", { rate: "1mbit", per: "packet" }, ParameterError],
  ])("rejects %s", (_, inputs, type) => {
    expect(() => new ActorChain().add("rate_limit", inputs as never)).toThrow(type);
  });

  test("rejects per for actors that cannot be done per subflow", () => {
    expect(() => new ActorChain().add("record", { per: "subflow" })).toThrow(/record: it has no parameter per/);
  });

  test("rejects a selector", () => {
    expect(() => new ActorChain().add("src")).toThrow(/actor "src"/);
  });
});

describe("PolicyChain", () => {
  const subflow = { local: "127.0.0.1", remote: "10.0.0.2", localPort: 1, remotePort: 2 };

  test("rejects a chain without an actor", () => {
    expect(() => new PolicyChain(any(), new ActorChain())).toThrow(ChainError);
  });

  test("is named after its actors, in their order", () => {
    expect(new PolicyChain(any(), limit().add("record")).name).toBe("rate_limit-record");
    expect(new PolicyChain(any(), limit(), { name: "mine" }).name).toBe("mine");
  });

  test("compiles packet actors only with interfaces to see packets on", () => {
    expect(() => new PolicyChain(any(), limit()).compile()).toThrow(/no interface/);
    expect(Object.keys(new PolicyChain(any(), limit(), { interfaces: ["a"] }).compile().programs)).toEqual([
      "tcx_ingress",
      "tcx_egress",
    ]);
    expect(Object.keys(new PolicyChain(any().select("subflow", subflow), limit()).compile().programs)).toEqual([
      "sock_ops",
      "iter_tcp",
      "iter_tcp_release",
    ]);
  });

  test("refuses hooks that do not see the packets an actor needs", () => {
    expect(() => limitOn({ direction: "egress" })).toThrow(/rate_limit acts on packets that arrive/);
    expect(() => limitOn({ hook: "xdp", direction: "both" })).toThrow(/XDP sees only packets that arrive/);
  });
});
