import { describe, expect, test } from "vitest";
import { lossProbe, rttProbe } from "./accuracy.ts";
import { parseDeviceCounters, parseNetstat, throughput } from "./counters.ts";
import { median } from "./ping.ts";
import { parseCpuTicks, runQuiet } from "./steal.ts";
import { percentile } from "../workload/request-response.ts";

const reading = (at: number, bytes: number) => {
  const counters = { sent: { bytes: 0, packets: 0 }, delivered: { bytes, packets: 0 } };
  return { at, counters: { wifi: { forward: counters, backward: counters } } };
};

const stolen = (...percents: number[]) => {
  const left = [...percents];
  return () => {
    const percent = left.shift()!;
    return () => percent;
  };
};
const counter = () => {
  let runs = 0;
  return async () => await Promise.resolve(++runs);
};

test("parseDeviceCounters() reads both directions of each interface", () => {
  const text = [
    "Inter-|   Receive                                                |  Transmit",
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs",
    "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0",
    "wifi-a: 320972    5010    0    3    0     0          0         0   320882    5009    0    0    0     0       0          0",
  ].join("\n");
  expect(parseDeviceCounters(text).get("wifi-a")).toEqual({
    received: { bytes: 320972, packets: 5010 },
    sent: { bytes: 320882, packets: 5009 },
  });
});

test("parseNetstat() pairs names with values", () => {
  const text = "TcpExt: A B\nTcpExt: 1 2\nMPTcpExt: MPCapableSYNRX MPJoinAckRx\nMPTcpExt: 3 4\n";
  expect(parseNetstat(text, "MPTcpExt")).toEqual({ MPCapableSYNRX: 3, MPJoinAckRx: 4 });
  expect(parseNetstat(text, "Absent")).toEqual({});
});

test("throughput() is the difference of two readings", () => {
  expect(throughput(reading(0, 1000), reading(200, 251_000))["wifi"].backward).toBe(10);
});

describe("runQuiet()", () => {
  test("repeats a disturbed run and takes the first quiet one", async () => {
    expect(await runQuiet(counter(), { steal: stolen(40, 0.5) })).toEqual({
      value: 2,
      stealPercent: 0.5,
      attempts: 2,
      quiet: true,
    });
  });

  test("gives up with the least disturbed one", async () => {
    expect(await runQuiet(counter(), { attempts: 3, steal: stolen(9, 5, 7) })).toEqual({
      value: 2,
      stealPercent: 5,
      attempts: 3,
      quiet: false,
    });
  });
});

test("parseCpuTicks() does not count guest time twice", () => {
  expect(parseCpuTicks("cpu  10 0 10 70 0 0 5 5 3 0\ncpu0 1 2 3 4")).toEqual({ total: 100, stolen: 5 });
});

test("lossProbe() widens the tolerance only where too few packets can be sent", () => {
  expect(lossProbe(1, 100, 20)).toMatchObject({ packets: 158_400, tolerance: 0.1 });
  const slow = lossProbe(1, 1, 20);
  expect(slow.packets).toBeLessThan(158_400);
  expect(slow.tolerance).toBeGreaterThan(0.1);
  expect(lossProbe(0, 10, 20).tolerance).toBeLessThan(0.1);
});

test("rttProbe() spaces pings so that jitter cannot make one wait for another", () => {
  expect(rttProbe(0)).toMatchObject({ count: 31, tolerance: 1 });
  expect(rttProbe(20).intervalMs).toBe(40);
});

test("median() and percentile()", () => {
  expect(median([5, 1, 3])).toBe(3);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 95)).toBe(10);
  expect(percentile([1, 2, 3, 4], 50)).toBe(2);
});
