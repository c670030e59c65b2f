import { expect, test } from "vitest";
import { formatTable } from "./report.ts";

test("formatTable() aligns numbers to the right and says nothing of a baseline that is not there", () => {
  const table = formatTable([
    { name: "small", nsPerPacket: 32.25, baseline: 31, ratio: 1.04 },
    { name: "without C", nsPerPacket: 120, baseline: null, ratio: null },
    { name: "compilation", ms: 41 },
    { name: "a change", ms: 0.04, perSecond: 25_000 },
    { name: "transfer", mbitPerSecond: 9800, baseline: 10_000, ratio: 0.98 },
    { name: "missed", quantity: 3, unit: "", baseline: 0, ratio: null },
    { name: "delay", quantity: 90.5, unit: "µs", baseline: 181, ratio: 0.5 },
  ]);
  expect(table.split("\n")).toEqual([
    "                measured      baseline  ratio",
    "small            32.3 ns       31.0 ns  1.040",
    "without C       120.0 ns             -      -",
    "compilation      41.0 ms",
    "a change       0.0400 ms       25000/s",
    "transfer     9800 Mbit/s  10000 Mbit/s  0.980",
    "missed                 3             0      -",
    "delay            90.5 µs        181 µs  0.500",
  ]);
});
