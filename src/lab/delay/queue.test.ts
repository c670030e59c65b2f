import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DueQueue } from "./queue.ts";

const still = { delayMs: 10, jitterMs: 0, lossProbability: 0 };

describe("DueQueue", () => {
  test("lets packets go when they are due, not before", () => {
    const queue = new DueQueue(still);
    queue.push(1, 100);
    queue.push(2, 103);
    expect(queue.nextDueMs).toBe(110);
    expect(queue.takeDue(109.9)).toBeUndefined();
    expect(queue.takeDue(112)).toBe(1);
    expect(queue.takeDue(113)).toBe(2);
    expect(queue.nextDueMs).toBe(Infinity);
  });

  test("keeps the order and the bounds of the delay, whatever jitter does", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 20, noNaN: true }), { maxLength: 200 }),
        fc.integer(),
        (gaps, seed) => {
          let state = seed >>> 0;
          const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
          const queue = new DueQueue({ delayMs: 10, jitterMs: 5, lossProbability: 0 }, random);
          let now = 0;
          const released: [id: number, at: number][] = [];
          const arrivals = gaps.map((gap, id) => {
            now += gap;
            queue.push(id, now);
            return now;
          });
          while (queue.nextDueMs !== Infinity) {
            const at = queue.nextDueMs;
            released.push([queue.takeDue(at)!, at]);
          }
          const ids = released.map(([id]) => id);
          expect(ids).toEqual([...ids].sort((a, b) => a - b));
          expect(ids.at(-1)).toBe(gaps.length === 0 ? undefined : gaps.length - 1);
          for (const [id, at] of released) {
            expect(at - arrivals[id]).toBeGreaterThanOrEqual(4.999_999);
            expect(at - arrivals[id]).toBeLessThanOrEqual(15.000_001);
          }
        },
      ),
    );
  });

  test("loses the share it was told to", () => {
    const queue = new DueQueue({ ...still, lossProbability: 0.25 });
    let kept = 0;
    for (let id = 0; id < 40_000; id++) if (queue.push(id, 0)) kept++;
    expect(Math.abs(kept - 30_000)).toBeLessThan(6 * Math.sqrt(40_000 * 0.25 * 0.75));
  });

  test("does not let packets overtake when the delay is lowered", () => {
    const queue = new DueQueue(still);
    queue.push(1, 0);
    queue.impairment = { ...still, delayMs: 1 };
    queue.push(2, 1);
    expect(queue.takeDue(9)).toBeUndefined();
    expect(queue.takeDue(10)).toBe(2);
  });

  test("survives as many packets as the kernel can hold, over and over", () => {
    const queue = new DueQueue(still);
    for (let round = 0; round < 3; round++) {
      for (let id = 0; id < 65_535; id++) queue.push(id, round * 100);
      expect(queue.takeDue(round * 100 + 9)).toBeUndefined();
      expect(queue.takeDue(round * 100 + 10)).toBe(65_534);
    }
  });
});
