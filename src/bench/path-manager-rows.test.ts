import { expect, test } from "vitest";
import { pathManagerRows } from "./path-manager-rows.ts";
import type { Measured } from "./path-managers.ts";

const series = (delayUs: number, missed: number) => ({
  delays: [{ sinceSynUs: delayUs, sinceEstablishedUs: delayUs, sinceAcknowledgedUs: delayUs - 10 }],
  connections: 100,
  missed,
  perSecond: 2000,
  cpuMs: delayUs,
});

/** Three rounds, of which the last one was disturbed. */
function measured(delayUs: number, missed: number): Measured {
  const rounds = [series(delayUs, missed), series(delayUs, 0), series(1e6, 0)];
  return {
    calm: rounds,
    storm: rounds,
    memory: [{ residentMiB: delayUs, proportionalMiB: 1 }],
    asleep: { cpuMsPerSecond: 0, sleepsPerSecond: 0 },
    recovery: { begun: 100, joined: missed === 0 ? 100 : 0, kept: 100, atWorkMs: 50 },
  };
}

const byName = (rows: ReturnType<typeof pathManagerRows>) => (start: string) =>
  rows.find(({ name }) => name.startsWith(start))!;

test("pathManagerRows() divides medians of rounds by mptcpd's, sums what was missed, and has no ratio to nothing", () => {
  const managers = { emptcp: measured(100, 0), mptcpd: measured(50, 7), kernel: measured(25, 0) };
  const row = byName(pathManagerRows({ mptcpd: { version: "mptcpd 0.12" }, eventsPerConnection: 5, managers }));
  expect(row("join after establishment, median")).toMatchObject({ quantity: 100, baseline: 50, ratio: 2 });
  expect(row("join after establishment, by the kernel")).toMatchObject({ quantity: 25, baseline: 50, ratio: 0.5 });
  expect(row("join after the kernel told")).toMatchObject({ quantity: 90, baseline: 40, ratio: 2.25 });
  expect(row("CPU per event")).toMatchObject({ quantity: 200, unit: "µs" });
  expect(row("missed, of 300")).toMatchObject({ quantity: 0, baseline: 7, ratio: 0 });
  expect(row("asleep: CPU")).toMatchObject({ quantity: 0, baseline: 0, ratio: null });
  expect(row("killed and started again: joins")).toMatchObject({ quantity: 100, baseline: 0, ratio: null });
});

test("pathManagerRows() has no baseline where mptcpd is not to be had", () => {
  const managers = { emptcp: measured(100, 0) };
  const rows = pathManagerRows({ mptcpd: { failure: "no network" }, eventsPerConnection: 5, managers });
  expect(byName(rows)("join after establishment, median")).toMatchObject({ baseline: null, ratio: null });
  expect(rows.every(({ baseline }) => baseline === null)).toBe(true);
});
