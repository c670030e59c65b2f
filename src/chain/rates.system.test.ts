import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { capturedFrames } from "../compiler/testing/frames.ts";
import { createNetns, deleteNetns, programFromId, queryTcx, testRun, withNetns } from "../linux/index.ts";
import { ActorChain, PolicyChain, SelectorChain, type RunningChain } from "./index.ts";

const netns = `emptcp-rates-${process.pid}`;
let running: RunningChain | undefined;
beforeAll(() => createNetns(netns));
afterEach(() => running?.remove());
afterAll(() => deleteNetns(netns));

test("rates() measures what passes a chain, and what its program takes for it", async () => {
  const actors = new ActorChain().add("record");
  const options = { name: `rates-${process.pid}`, netns, interfaces: ["lo"], direction: "ingress" } as const;
  running = new PolicyChain(new SelectorChain(), actors, options).submit();
  const [attached] = withNetns(netns, () => queryTcx({ interface: "lo", direction: "ingress" }));
  using program = programFromId(attached.programId);
  const measured = running.rates(0.3);
  // Measuring has begun; the packets come from a test run, which counts like those of an interface.
  const repeat = 1000;
  testRun(program, { data: capturedFrames()[0], repeat });
  const { seconds, seenPerSecond, actors: perActor, programs } = await measured;
  expect(Math.round(seenPerSecond * seconds)).toBe(repeat);
  expect(Math.round(perActor[0].seenPerSecond * seconds)).toBe(repeat);
  expect(programs.map(({ hook, interfaces }) => ({ hook, interfaces }))).toEqual([
    { hook: "tcx_ingress", interfaces: ["lo"] },
  ]);
  expect(Math.round(programs[0].runsPerSecond * seconds)).toBe(repeat);
  expect(programs[0].nsPerRun).toBeGreaterThan(0);
});
