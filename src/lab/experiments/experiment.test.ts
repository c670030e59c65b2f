import { describe, expect, it } from "vitest";
import { planLab } from "../plan.ts";
import type { LabSpec } from "../spec.ts";
import { changePercent, formatChange, formatSpread, inTurn, spreadOf } from "./experiment.ts";
import { bottleneckPlace, poolPlace, together } from "./fairness/places.ts";
import { tenantLab } from "./multi-tenant.ts";
import { overheadLab } from "./overhead.ts";
import { threePaths } from "./path-management.ts";

const stepsAt = (spec: LabSpec, where: string) =>
  planLab(spec, (name) => name)
    .steps.filter((step) => step.where === where)
    .map((step) => ("tool" in step ? `${step.tool} ${step.args.join(" ")}` : `${step.sysctl}=${step.value}`));

describe("inTurn()", () => {
  it("measures every side once per round, each of them first in turn", async () => {
    // A disturbed measurement is made once more: that is no other turn.
    const turns = new Set<string>();
    const results = await inTurn(["a", "b", "c"], 3, async (side, round) => {
      turns.add(`${side}${round}`);
      return await Promise.resolve(`${side}${round}`);
    });
    expect(results).toEqual({ a: ["a0", "a1", "a2"], b: ["b0", "b1", "b2"], c: ["c0", "c1", "c2"] });
    expect([...turns]).toEqual(["a0", "b0", "c0", "b1", "c1", "a1", "c2", "a2", "b2"]);
  });
});

describe("changePercent()", () => {
  it("compares the sides of each round, so that rounds may differ", () => {
    expect(changePercent([10, 100, 1000], [12, 120, 1200])).toBeCloseTo(20);
    expect(changePercent([100, 100, 100], [70, 68, 10])).toBeCloseTo(-32);
  });
});

describe("formatChange() and formatSpread()", () => {
  it.each([
    [23.03, "+23.0 %"],
    [-32.1, "−32.1 %"],
    [0, "+0.0 %"],
  ])("shows a change of %d as %s", (percent, text) => {
    expect(formatChange(percent)).toBe(text);
  });

  it("shows least and greatest where they differ", () => {
    expect(formatSpread(spreadOf([3, 1, 2]))).toBe("2.0 (1.0–3.0)");
    expect(formatSpread(spreadOf([2]), 2)).toBe("2.00");
    expect(() => spreadOf([])).toThrow(RangeError);
  });
});

describe("tenantLab()", () => {
  const spec = tenantLab(3);

  it("gives every guest one interface, one address, and no knowledge of the uplinks", () => {
    const guests = Object.keys(spec.hosts).filter((name) => !name.startsWith("hyper"));
    expect(guests).toHaveLength(6);
    for (const guest of guests) {
      expect(spec.links.filter(({ between }) => between.includes(guest))).toHaveLength(1);
      expect(stepsAt(spec, guest).filter((line) => line.startsWith("ip addr add 10."))).toHaveLength(1);
      expect(stepsAt(spec, guest).join("\n")).not.toMatch(/up[12]/);
    }
  });

  it("lets the hypervisors forward everything over the first uplink", () => {
    for (const hypervisor of ["hypera", "hyperb"]) {
      const routes = stepsAt(spec, hypervisor).filter((line) => line.startsWith("ip route"));
      expect(routes).toHaveLength(3);
      for (const route of routes) expect(route).toMatch(/dev up1$/);
    }
  });
});

describe("threePaths", () => {
  it("sends what is announced behind left and right through the trunk, and the rest past it", () => {
    expect(stepsAt(threePaths, "client").filter((line) => line.startsWith("ip route"))).toEqual([
      "ip route add 10.9.1.1/32 via 10.0.2.2 dev left",
      "ip route add 10.9.2.1/32 via 10.0.3.2 dev right",
    ]);
    expect(stepsAt(threePaths, "server").filter((line) => line.includes("endpoint"))).toEqual([
      "ip mptcp endpoint add 10.9.1.1 dev trunk id 1 signal",
      "ip mptcp endpoint add 10.9.2.1 dev trunk id 2 signal",
    ]);
  });
});

describe("bottleneckPlace()", () => {
  it("lets a client of one address open so many subflows, all through the trunk", () => {
    const place = bottleneckPlace(3, { tcps: 1, subflows: 3 });
    const announced = stepsAt(place.spec, place.mptcp.server).filter((line) => line.includes("endpoint"));
    expect(announced).toEqual(
      [7001, 7002].map((port) => `ip mptcp endpoint add 10.3.3.2 dev trunk3 port ${port} signal`),
    );
    for (const { client } of [place.tcp, place.mptcp])
      expect(stepsAt(place.spec, client).filter((line) => line.includes("addr add 10."))).toHaveLength(1);
    expect(stepsAt(place.spec, "router3").filter((line) => line.includes("tbf"))).toHaveLength(1);
  });
});

describe("together()", () => {
  it("keeps places apart: none has a host, a link or an address of another", () => {
    const places = [0, 1].map((index) => bottleneckPlace(index, { tcps: 2, subflows: 2 }));
    const spec = together([...places, poolPlace([[0], [1], [0, 1]])]);
    expect(Object.keys(spec.hosts)).toHaveLength(4 * 2 + 2 * 3);
    const { links } = planLab(spec, (name) => name);
    expect(new Set(links.flatMap(({ ends }) => ends.map(({ ipv4 }) => ipv4))).size).toBe(2 * links.length);
  });
});

describe("overheadLab", () => {
  it("limits no link, so that flows are as short as they can be", () => {
    expect(planLab(overheadLab, (name) => name).steps.filter((step) => "tool" in step && step.tool === "tc")).toEqual(
      [],
    );
  });
});
