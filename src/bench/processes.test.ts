import { expect, test } from "vitest";
import { costOf, memoryOf, parseCpuMs, parseMemory, parseSleeps } from "./processes.ts";

test("parseCpuMs() reads the time on a processor", () => {
  expect(parseCpuMs("2500000 81000 17\n")).toBe(2.5);
});

test("parseSleeps() counts what a thread gave up itself, not what was taken from it", () => {
  expect(parseSleeps("Threads:\t1\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n")).toBe(150);
});

test("parseMemory() tells proportional from resident memory", () => {
  const rollup = "5602-7ffd ---p 00000000 00:00 0   [rollup]\nRss:    2048 kB\nPss:     512 kB\nPss_Dirty:    112 kB\n";
  expect(parseMemory(rollup)).toEqual({ residentMiB: 2, proportionalMiB: 0.5 });
});

test("costOf() and memoryOf() see all of this process", () => {
  const before = costOf(process.pid);
  for (const end = performance.now() + 20; performance.now() < end;);
  expect(costOf(process.pid).cpuMs).toBeGreaterThan(before.cpuMs);
  const { residentMiB, proportionalMiB } = memoryOf(process.pid);
  expect(proportionalMiB).toBeGreaterThan(1);
  expect(residentMiB).toBeGreaterThanOrEqual(proportionalMiB);
});
