import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemberSet } from "../chain/member-set.ts";
import type { ArrayMap, ProgramArrayMap } from "../bpf/vm/index.ts";
import { programsMap, stepGraph, stepsMap, writeRoot, writeSteps, type Decision } from "./steps.ts";
import { generatedFrames } from "./testing/frames.ts";
import { makeFrame } from "./testing/packets.ts";
import { actorChains, selectorChains } from "./testing/chains.ts";
import {
  chain,
  onlyKey,
  type ChainOptions,
  type Selection,
  type Use,
  type VmRunner,
} from "./testing/policy-harness.ts";
import { rememberers, segmentMakers } from "./testing/segment-makers.ts";
import { policySource } from "./testing/policy-source.ts";
import type { Hook } from "./index.ts";

const packetHooks = ["xdp", "tcx_ingress", "tcx_egress"] as const;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Round-trip times as if flows had been measured, so that rate_limit gets to act. */
const measured = { rttUs: 80_000_000n, scale: 3n, scaleKnown: 1n };

function expectSame(options: ChainOptions, hook: Hook, frames: readonly Uint8Array[]): void {
  const [fused, linked] = (["fused", "linked"] as const).map((mode) => chain({ ...options, mode }).vm(hook));
  const pass = (): void => {
    for (const frame of frames) {
      const [left, right] = [fused, linked].map((vm) => {
        const { verdict, packet } = vm.run(frame);
        return { verdict, packet: hex(packet), ...vm.counters() };
      });
      if (JSON.stringify(left) !== JSON.stringify(right)) expect(right, hex(frame)).toEqual(left);
    }
    expect(linked.state()).toEqual(fused.state());
  };
  pass();
  for (const vm of [fused, linked])
    vm.changeState((_, { fields }) =>
      Object.fromEntries(Object.entries(measured).filter(([field]) => "scaleKnown" in fields && field in fields)),
    );
  pass();
  expect(linked.counters().lost).toBe(0);
}

const selectors: readonly Selection[] = Object.values(selectorChains).flatMap(({ select }) => (select ? [select] : []));
const withSets = Object.entries(actorChains).filter(([, { select }]) => select instanceof MemberSet);
const actors: readonly Use[] = Object.entries(actorChains)
  .filter(([name]) => !withSets.some(([other]) => other === name))
  .flatMap(([, options]) => options.actors ?? []);

const { selection } = fc.letrec<{ selection: Selection }>((tie) => ({
  selection: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom(...selectors),
    fc.record({ not: tie("selection") }),
    fc.record({ and: fc.array(tie("selection"), { maxLength: 3 }) }),
    fc.record({ or: fc.array(tie("selection"), { maxLength: 3 }) }),
  ),
}));

describe("linked and fused chains", () => {
  it("agree on verdict, bytes, counters and state for expressions and actors of any kind", () => {
    const chains = fc.record({
      select: selection,
      actors: fc.array(fc.constantFrom(...actors), { minLength: 1, maxLength: 4 }),
      hook: fc.constantFrom(...packetHooks),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(chains, ({ hook, seed, ...options }) => expectSame(options, hook, generatedFrames(40, seed))),
      { numRuns: 25 },
    );
  }, 60_000);
});

describe("what one policy leaves for others", () => {
  const tcHooks = ["tcx_ingress", "tcx_egress"] as const;
  const makers = [...segmentMakers.policies.keys()];

  it("takes effect alike at the end: segments, marks, copies, and where packets go", () => {
    const orders = fc.tuple(fc.array(fc.constantFrom(...makers), { minLength: 1, maxLength: 4 }), fc.nat());
    fc.assert(
      fc.property(orders, fc.constantFrom(...tcHooks), ([order, seed], hook) => {
        const [fused, linked] = (["fused", "linked"] as const).map((mode) =>
          chain({ source: segmentMakers, actors: order, mode }).vm(hook),
        );
        for (const frame of [...generatedFrames(20, seed), makeFrame(), makeFrame({ payload: 100 })])
          expect(linked.run(frame), hex(frame)).toEqual(fused.run(frame));
        expect(linked.counters()).toEqual(fused.counters());
      }),
      { numRuns: 25 },
    );
  }, 60_000);

  it.each(packetHooks)("is remembered alike for the packet, observed and told, on %s", (hook) => {
    const select: Selection = { or: ["odd", { not: ["port", { port: 80 }] }] };
    const [fused, linked] = (["fused", "linked"] as const).map((mode) =>
      chain({ source: rememberers, select, actors: ["grow", "tell", "grow", "tell"], mode }).vm(hook),
    );
    for (const frame of generatedFrames(300, 3)) expect(linked.run(frame)).toEqual(fused.run(frame));
    expect([linked.counters(), linked.state()]).toEqual([fused.counters(), fused.state()]);
    const events = linked.events();
    expect(events).toEqual(fused.events());
    expect(events.length).toBeGreaterThan(10);
  });
});

describe.each(withSets)("linked and fused chains agree: %s", (_name, options) => {
  it.each(packetHooks)("on %s", (hook) => {
    expectSame(options, hook, generatedFrames(200, 11));
  });
});

const source = policySource(`import { actor, selector, u16 } from "emptcp/policy";
export const wide = selector({ name: "wide", run: ({ tcp }) => tcp.window > 99 });
export const times = actor({ name: "times", params: { by: u16 }, run({ tcp }, { by }) { tcp.window = u16(tcp.window * by); } });
export const plus = actor({ name: "plus", params: { by: u16 }, run({ tcp }, { by }) { tcp.window = u16(tcp.window + by); } });
export const drop = actor({ name: "drop", run(packet) { packet.drop(); } });`);

function linked(): { vm: VmRunner; change: (actors: readonly number[], decision?: Decision) => void } {
  const tested = chain({
    source,
    select: "wide",
    actors: [["times", { by: 3 }], ["plus", { by: 5 }], "drop"],
    mode: "linked",
  });
  const vm = tested.vm("xdp");
  const { layout } = tested.compile("xdp");
  let next = 100;
  const change = (order: readonly number[], decision: Decision = { op: "selector", selector: 0 }): void => {
    const steps = vm.maps.get(stepsMap) as ArrayMap;
    const graph = stepGraph(
      layout,
      decision,
      order,
      Array.from({ length: 20 }, () => next++),
    );
    const value = steps.lookup(onlyKey)!;
    writeSteps(value, graph.steps);
    writeRoot(value, graph.first);
    steps.update(onlyKey, value);
  };
  return { vm, change };
}

/** The window that a packet leaves with, or "drop". */
function windowAfter(vm: VmRunner, window = 100): number | "drop" {
  const { verdict, packet } = vm.run(makeFrame({ tcp: { window } }));
  return verdict === "drop" ? "drop" : new DataView(packet.buffer, packet.byteOffset).getUint16(14 + 20 + 14);
}

describe("the steps map", () => {
  it("leaves out, reorders and selects anew by writes alone", () => {
    const { vm, change } = linked();
    expect(windowAfter(vm)).toBe("drop");
    change([0, 1]);
    expect(windowAfter(vm)).toBe(305);
    expect(windowAfter(vm, 99)).toBe(99);
    change([1, 0]);
    expect(windowAfter(vm)).toBe(315);
    change([1], { op: "not", term: { op: "selector", selector: 0 } });
    expect(windowAfter(vm)).toBe(100);
    expect(windowAfter(vm, 99)).toBe(104);
    change([]);
    expect(windowAfter(vm)).toBe(100);
    expect(vm.counters()).toMatchObject({ seen: 7, acted: [3, 4, 1], lost: 0 });
  });

  it("lets packets pass, with what was done to them, where a program is missing, and counts them", () => {
    const { vm, change } = linked();
    change([0, 1]);
    (vm.maps.get(programsMap("xdp")) as ProgramArrayMap).setProgram(3, undefined);
    expect(windowAfter(vm)).toBe(300);
    expect(vm.counters()).toMatchObject({ lost: 1, acted: [1, 0, 0] });
  });

  it("refuses chains that are longer than the kernel's tail calls reach", () => {
    const most = { select: "wide", actors: Array.from({ length: 30 }, () => "drop"), source, mode: "linked" } as const;
    expect(() => chain(most).compile("xdp")).not.toThrow();
    expect(() => chain({ ...most, actors: [...most.actors, "drop"] }).compile("xdp")).toThrow(/more than 32 programs/);
  });
});
