import { describe, expect, it } from "vitest";
import { copyInParallel } from "./copies.ts";
import { Random } from "./testing/random.ts";

describe("copyInParallel()", () => {
  it("gives every target what its source held before, in cycles and fans too", () => {
    for (let seed = 0; seed < 2000; seed++) {
      const random = new Random(seed);
      const count = 1 + random.below(7);
      const copies = Array.from({ length: count }, (_, to) => ({ to, from: random.below(count + 2) }));
      const before = Array.from({ length: count + 2 }, (_, register) => register);
      const registers = [...before];
      copyInParallel(
        copies,
        () => registers.push(-1) - 1,
        (to, from) => {
          registers[to] = registers[from];
        },
      );
      const after = copies.map(({ to }) => registers[to]);
      expect(after, `seed ${seed}`).toEqual(copies.map(({ from }) => before[from]));
    }
  });

  it("breaks a cycle with one spare register", () => {
    const done: string[] = [];
    const cycle = [
      { to: 1, from: 2 },
      { to: 2, from: 3 },
      { to: 3, from: 1 },
    ];
    copyInParallel(
      cycle,
      () => 9,
      (to, from) => done.push(`${to}=${from}`),
    );
    expect(done).toHaveLength(4);
  });
});
