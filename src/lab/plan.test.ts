import { describe, expect, test } from "vitest";
import { bucketOf, planLab, type Step } from "./plan.ts";
import { conditionsOf, wifiAndLte, type LabSpec, type LinkSpec } from "./spec.ts";

const plan = (spec: LabSpec) => planLab(spec, (where) => `ns-${where}`);
const lines = (steps: readonly Step[], where: string) =>
  steps
    .filter((step) => step.where === where)
    .map((step) => ("tool" in step ? `${step.tool} ${step.args.join(" ")}` : `${step.sysctl}=${step.value}`));
const hosts = { client: {}, server: {} };
const link = (more: Partial<LinkSpec>): LabSpec => ({
  hosts,
  links: [{ name: "wifi", between: ["client", "server"], ...more }],
});

describe("planLab()", () => {
  test("limits the rate at the sender and delays each direction in the wire", () => {
    const { steps } = plan(wifiAndLte);
    // 40 Mbit/s are 5000 bytes a ms: 4 ms of burst, 50 ms of queue.
    for (const host of ["client", "server"]) {
      expect(lines(steps, host)).toContain("tc qdisc add dev wifi root tbf rate 40000000bit burst 20000 limit 250000");
    }
    const rules = lines(steps, "wire").filter((line) => line.startsWith("iptables"));
    expect(rules.map((rule) => /physdev-in (\S+) .* (\d+)$/.exec(rule)?.slice(1))).toEqual([
      ["wifi-a", "0"],
      ["wifi-b", "1"],
      ["lte-a", "2"],
      ["lte-b", "3"],
    ]);
  });

  test("gives every link networks of its own, the first two addresses to its hosts", () => {
    const { links } = plan(wifiAndLte);
    expect(links.map(({ ends }) => ends.map(({ ipv4, ipv6 }) => [ipv4, ipv6]))).toEqual([
      [
        ["10.0.1.1/24", "fd00:1::1/64"],
        ["10.0.1.2/24", "fd00:1::2/64"],
      ],
      [
        ["10.0.2.1/24", "fd00:2::1/64"],
        ["10.0.2.2/24", "fd00:2::2/64"],
      ],
    ]);
    const given = plan(link({ ipv4: "192.168.7.64/26", ipv6: "2001:db8::/32" })).links[0].ends[1];
    expect([given.ipv4, given.ipv6]).toEqual(["192.168.7.66/26", "2001:db8::2/32"]);
  });

  test("announces the server's addresses and no one else's", () => {
    const { steps } = plan(wifiAndLte);
    const endpoints = (host: string) => lines(steps, host).filter((line) => line.includes("mptcp endpoint"));
    expect(endpoints("client")).toEqual([]);
    expect(endpoints("server")).toEqual([
      "ip mptcp endpoint add 10.0.1.2 dev wifi signal",
      "ip mptcp endpoint add 10.0.2.2 dev lte signal",
    ]);
  });

  test("leads to networks behind other hosts over one link or several, and announces what the host asks for", () => {
    const { steps } = plan({
      hosts: {
        guest: { routes: { "0.0.0.0/0": "tap" }, announces: [{ address: "10.0.1.1", port: 7001, link: "tap" }] },
        hyper: { forwards: true, routes: { "10.9.0.0/24": ["up1", "up2"] } },
        far: { addresses: { "10.9.0.1": "up2" } },
      },
      links: [
        { name: "tap", between: ["guest", "hyper"] },
        { name: "up1", between: ["hyper", "far"] },
        { name: "up2", between: ["far", "hyper"] },
      ],
    });
    expect(lines(steps, "guest").slice(-2)).toEqual([
      "ip route add 0.0.0.0/0 via 10.0.1.2 dev tap",
      "ip mptcp endpoint add 10.0.1.1 dev tap port 7001 signal",
    ]);
    expect(lines(steps, "hyper")).toContain("net.ipv4.ip_forward=1");
    expect(lines(steps, "hyper").at(-1)).toBe(
      "ip route add 10.9.0.0/24 nexthop via 10.0.2.2 dev up1 nexthop via 10.0.3.1 dev up2",
    );
    expect(lines(steps, "far").at(-1)).toBe("ip addr add 10.9.0.1/32 dev up2");
  });

  test("refuses routes over links that the host does not have", () => {
    expect(() => plan({ ...wifiAndLte, hosts: { client: { routes: { "0.0.0.0/0": "dsl" } }, server: {} } })).toThrow(
      "no link dsl",
    );
  });

  test("leaves an unconditioned link alone", () => {
    const { steps } = plan(link({}));
    const all = ["client", "server", "wire"].flatMap((where) => lines(steps, where));
    expect(all.filter((line) => /^(tc|iptables|ip6tables) /.test(line))).toEqual([]);
  });

  test("sends single packets where loss is asked", () => {
    expect(plan(link({ rateMbit: 1000 })).links[0].largeFrames).toBe(true);
    expect(plan(link({ rateMbit: 1000, lossPercent: 1 })).links[0].largeFrames).toBe(false);
    expect(() => plan(link({ largeFrames: true, lossPercent: 1 }))).toThrow(RangeError);
  });

  test.each([
    ["an unknown host", link({ between: ["client", "nobody"] }), "no host nobody"],
    ["a link from a host to itself", link({ between: ["client", "client"] }), "both ends"],
    ["a name that is no interface name", link({ name: "much-too-long-a-name" }), "much-too-long-a-name"],
    ["a name used twice", { hosts, links: [...link({}).links, ...link({}).links] }, "used twice"],
    ["a host named wire", { hosts: { wire: {} }, links: [] }, "wire"],
    ["a negative delay", link({ rttMs: -2 }), "delayMs"],
    ["jitter beyond the delay", link({ rttMs: 10, jitterMs: 6 }), "jitterMs"],
    ["loss beyond all packets", link({ lossPercent: 101 }), "lossPercent"],
    ["no rate at all", link({ rateMbit: 0 }), "rateMbit"],
    ["a rate that is not a number", link({ rateMbit: NaN }), "rateMbit"],
    ["a prefix that is none", link({ ipv4: "10.1.0/24" }), "10.1.0/24"],
    ["a prefix without room", link({ ipv4: "10.1.0.0/31" }), "10.1.0.0/31"],
    ["an IPv6 prefix that is none", link({ ipv6: "fd00::1/64" }), "fd00::1/64"],
  ] satisfies [string, LabSpec, string][])("refuses %s", (_, spec, mention) => {
    expect(() => plan(spec)).toThrow(RangeError);
    expect(() => plan(spec)).toThrow(mention);
  });
});

describe("conditionsOf()", () => {
  test("halves the round trip, and lets a direction differ", () => {
    const spec: LinkSpec = {
      name: "dsl",
      between: ["client", "server"],
      rateMbit: 50,
      rttMs: 30,
      forward: { rateMbit: 5, delayMs: 40 },
    };
    expect(conditionsOf(spec, "forward")).toMatchObject({ rateMbit: 5, delayMs: 40 });
    expect(conditionsOf(spec, "backward")).toMatchObject({ rateMbit: 50, delayMs: 15 });
    // 1.5 × (40 + 15) ms
    expect(conditionsOf(spec, "backward").queueMs).toBe(82.5);
  });
});

test("bucketOf() holds two full packets at any rate, and whole large frames where they pass", () => {
  const slow = conditionsOf({ name: "x", between: ["a", "b"], rateMbit: 0.1 }, "forward");
  expect(bucketOf(slow, false).burst).toBeGreaterThanOrEqual(2 * 1514);
  expect(bucketOf(slow, true).burst).toBeGreaterThan(65_536);
  expect(bucketOf(slow, true).limit).toBeGreaterThanOrEqual(bucketOf(slow, true).burst);
});
