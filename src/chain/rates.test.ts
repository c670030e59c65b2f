import { expect, test } from "vitest";
import { ratesBetween, type Sample } from "./rates.ts";

function sample(packets: number, runs: number, timeNs: number): Sample {
  return {
    counters: {
      seen: packets,
      matched: packets / 2,
      selectors: [{ name: "dst", seen: packets, matched: packets / 2 }],
      actors: [{ name: "record", seen: packets / 2, acted: packets / 4, cannot: { a: packets / 8, b: packets / 8 } }],
    },
    programs: [{ hook: "xdp", interfaces: ["eth0"], runCount: runs, runTimeNs: timeNs }],
  };
}

test("ratesBetween() divides what was added by the time it took, and the time in a program by its runs", () => {
  expect(ratesBetween(sample(80, 100, 5000), sample(240, 300, 45_000), 2)).toEqual({
    seconds: 2,
    seenPerSecond: 80,
    matchedPerSecond: 40,
    selectors: [{ name: "dst", seenPerSecond: 80, matchedPerSecond: 40 }],
    actors: [{ name: "record", seenPerSecond: 40, actedPerSecond: 20, cannotPerSecond: 20 }],
    programs: [{ hook: "xdp", interfaces: ["eth0"], runsPerSecond: 100, nsPerRun: 200, cpuShare: 20e-6 }],
  });
});

test("ratesBetween() knows no cost of a program that did not run", () => {
  const [program] = ratesBetween(sample(8, 5, 900), sample(8, 5, 900), 1).programs;
  expect(program).toEqual({ hook: "xdp", interfaces: ["eth0"], runsPerSecond: 0, cpuShare: 0 });
});
