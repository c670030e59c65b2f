import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmdirSync, unlinkSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { countersMap, stepGraph, stepsMap, writeRoot, writeSteps } from "../compiler/index.ts";
import { makeFrame } from "../compiler/testing/packets.ts";
import { chain, readCounters } from "../compiler/testing/policy-harness.ts";
import { runnableModule } from "../lab/runnable.ts";
import { createNetns, deleteNetns, ensureBpffs, loadCollection, openMap, withNetns } from "../linux/index.ts";
import { ActorChain, listChains, PolicyChain, SelectorChain } from "./index.ts";
import { tally } from "./testing/own-policies.ts";
import { converse } from "./testing/converse.ts";

const netns = `emptcp-linked-${process.pid}`;
const prefix = `linked-${process.pid}-`;

beforeAll(() => {
  createNetns(netns);
  const { status, stderr } = withNetns(netns, () => spawnSync("ip", ["link", "set", "lo", "up"], { encoding: "utf8" }));
  if (status !== 0) throw new Error(`ip link set lo up: ${stderr}`);
});
afterEach(() => {
  for (const one of listChains()) if (one.name.startsWith(prefix)) one.remove();
});
afterAll(() => deleteNetns(netns));

describe("a linked chain", () => {
  test("acts on live traffic, and is edited while it does", async () => {
    const actors = new ActorChain().add(tally, { step: 1 }).add("record").add(tally, { step: 1 });
    const selectors = new SelectorChain().exclude("packet_type", { type: "rst" });
    const options = { name: `${prefix}live`, netns, interfaces: ["lo"], mode: "linked" } as const;
    const running = new PolicyChain(selectors, actors, options).submit();
    expect(running.description.mode).toBe("linked");
    const arrayId = (): number => {
      using map = openMap(`${ensureBpffs()}/emptcp/chains/${running.name}/map_programs_tcx_ingress`);
      return map.info().id;
    };
    const programs = arrayId();
    const recorded = (): number => running.counters().actors[1].acted;
    const traffic = converse(netns, 20_000_000);
    for (let i = 0; i < 20; i++) {
      await running.edit((edited) => edited.actors.disable("record"));
      await running.edit((edited) => edited.actors.enable("record"));
    }
    await traffic;
    // Nothing was loaded for it.
    expect(arrayId()).toBe(programs);
    expect(running.description.generation).toBe(1 + 2 * 20);
    const [first, , last] = running.counters().actors;
    expect(first.acted).toBeGreaterThan(300);
    const before = recorded();
    await running.edit((edited) => edited.actors.disable("record"));
    await converse(netns, 100_000);
    expect(recorded()).toBe(before);
    await running.edit((edited) => edited.actors.enable("record"));
    await converse(netns, 100_000);
    expect(recorded()).toBeGreaterThan(before);
    expect(last.acted).toBe(first.acted);
  });
});

const flips = 10_000;
const runs = 3_000_000;

describe("the steps map", () => {
  test("is changed under full load, and no packet meets half a chain", async () => {
    const tested = chain({
      select: ["port", { port: 80 }],
      actors: ["record", "blk_subflow", "record"],
      mode: "linked",
    });
    const { layout, maps, programs, programArrays } = tested.compile("xdp");
    using collection = loadCollection({ maps, programs, programArrays });
    const steps = collection.maps[stepsMap];
    const value = steps.lookup(new Uint8Array(4))!;
    const one = { op: "selector", selector: 0 } as const;
    const graphs = [[0, 1, 2], [1, 2, 0], [2, 0], [1]].map((order, i) =>
      stepGraph(
        layout,
        one,
        order,
        Array.from({ length: 20 }, (_, at) => 50 + 20 * i + at),
      ),
    );
    for (const graph of graphs) writeSteps(value, graph.steps);
    const directory = `${ensureBpffs()}/emptcp-steps-${process.pid}`;
    mkdirSync(directory);
    try {
      collection.programs["xdp"].pin(`${directory}/program`);
      const script = runnableModule("chain/testing/run-program.ts");
      const args = [script, `${directory}/program`, Buffer.from(makeFrame()).toString("hex"), String(runs)];
      const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
      await once(child.stdout, "data");
      const ended = once(child, "exit");
      child.stdin.write("go\n");
      for (let i = 0; i < flips; i++) {
        writeRoot(value, graphs[i % graphs.length].first);
        steps.update(new Uint8Array(4), value);
      }
      expect(await ended).toEqual([0, null]);
    } finally {
      unlinkSync(`${directory}/program`);
      rmdirSync(directory);
    }
    const counters = readCounters(layout, collection.maps[countersMap].lookupPerCpu(new Uint8Array(4))!);
    expect(counters).toMatchObject({ seen: runs, matched: [runs], lost: 0 });
    expect(counters.acted[0]).toBe(counters.acted[2]);
    expect(counters.acted[0]).toBeGreaterThan(0);
    expect(counters.acted[0]).toBeLessThan(runs);
  });
});
