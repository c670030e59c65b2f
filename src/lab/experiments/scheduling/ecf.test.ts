import { describe, expect, it } from "vitest";
import { Capacity } from "./capacity.ts";
import { ecfRates } from "./ecf.ts";

const bytesPerSecond = (mbit: number) => (mbit * 1e6) / 8;
const fast = { rttUs: 20_000, bytesPerSecond: bytesPerSecond(40) };
const slow = { rttUs: 50_000, bytesPerSecond: bytesPerSecond(10) };

describe("ecfRates()", () => {
  it("leaves the slow path out while everything arrives earlier on the fast one", () => {
    expect(ecfRates(100_000, [fast, slow])).toEqual([Infinity, 0]);
    expect(ecfRates(100_000, [slow, fast])).toEqual([0, Infinity]);
  });

  it("gives the slow path less than it carries where there is more to send", () => {
    const [first, second] = ecfRates(1_000_000, [fast, slow]);
    expect(first).toBe(Infinity);
    expect(second).toBeGreaterThan(0.5 * slow.bytesPerSecond);
    expect(second).toBeLessThan(slow.bytesPerSecond);
  });

  it("asks for more the thinner the slow path is", () => {
    const thin = { ...slow, bytesPerSecond: bytesPerSecond(2) };
    expect(ecfRates(1_000_000, [fast, thin])).toEqual([Infinity, 0]);
    expect(ecfRates(10_000_000, [fast, thin])[1]).toBeGreaterThan(0);
  });

  it("leaves out a path of which nothing is known, and holds a single one to nothing", () => {
    expect(ecfRates(1_000_000, [fast, { rttUs: 50_000, bytesPerSecond: 0 }])).toEqual([Infinity, 0]);
    expect(ecfRates(1_000_000, [slow])).toEqual([Infinity]);
  });
});

describe("Capacity", () => {
  it("is the most observed, but for one burst, and forgets", () => {
    const capacity = new Capacity();
    expect(capacity.bytesPerSecond).toBe(0);
    for (const observed of [5, 80, 30, 20]) capacity.observe(observed);
    expect(capacity.bytesPerSecond).toBe(30);
    for (let i = 0; i < 100; i++) capacity.observe(7);
    expect(capacity.bytesPerSecond).toBe(7);
  });
});
