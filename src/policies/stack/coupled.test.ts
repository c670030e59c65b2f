import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StackHost, type StackSubflow } from "../testing/stack-host.ts";
import { coupling, strategy } from "../strategies.ts";
import { emptcp } from "./emptcp.ts";

interface Path {
  readonly cwnd: number;
  readonly mss: number;
  readonly srttUs: number;
}

const refreshUs = 1000n;
const host = new StackHost(emptcp);
let token = 1;

/** A connection beyond slow start whose subflows are all coupled, each by the algorithm, and have just seen one another. */
function coupled(algorithm: number, paths: readonly Path[]): StackSubflow[] {
  const subflows = host.connect(
    token++,
    paths.map((path) => ({ ...path, ssthresh: 2 })),
  );
  for (const subflow of subflows) {
    subflow.ack(0, refreshUs);
    subflow.follow({ kind: strategy.coupled, algorithm });
  }
  paths.forEach((path, i) => subflows[i].set({ cwnd: path.cwnd, cwndCount: 0 }));
  for (const subflow of subflows) subflow.ack(0, refreshUs);
  return subflows;
}

const path = fc.record({
  cwnd: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 65_536 })),
  mss: fc.oneof(fc.constantFrom(536, 1428, 1448, 8948), fc.integer({ min: 88, max: 65_535 })),
  srttUs: fc.oneof(fc.integer({ min: 1, max: 300_000 }), fc.integer({ min: 1, max: 4_000_000 })),
});
const connection = fc.array(path, { minLength: 1, maxLength: 8 });
/** As it may be while another CPU changes it, or before there is anything to know. */
const garbage = fc.array(
  fc.record({
    cwnd: fc.constantFrom(0, 1, 0x7fff_ffff, 0xffff_ffff),
    mss: fc.constantFrom(0, 1, 1448, 65_535, 0xffff_ffff),
    srttUs: fc.constantFrom(0, 1, 0x1fff_ffff),
  }),
  { minLength: 1, maxLength: 8 },
);

/** A fraction of integers. */
type Ratio = readonly [numerator: bigint, denominator: bigint];
const greater = (a: Ratio, b: Ratio): boolean => a[0] * b[1] > b[0] * a[1];

/** Total window ÷ α by RFC 6356 and paper 004, section 2, without rounding. */
function exactLia(paths: readonly Path[]): Ratio {
  const big = paths.map(({ cwnd, mss, srttUs }) => ({ cwnd: BigInt(cwnd), mss: BigInt(mss), rtt: BigInt(srttUs) }));
  const product = big.reduce((all, { rtt }) => all * rtt, 1n);
  const sum = big.reduce((all, { cwnd, mss, rtt }) => all + (cwnd * mss * product) / rtt, 0n);
  const steepest = big
    .map(({ cwnd, mss, rtt }): Ratio => [cwnd * mss * mss, rtt * rtt])
    .reduce((most, one) => (greater(one, most) ? one : most));
  return [sum * sum * steepest[1], product * product * steepest[0]];
}

describe("LIA", () => {
  it("grows by total window ÷ α within 1 in 1000, and not faster than Reno", () => {
    fc.assert(
      fc.property(connection, (paths) => {
        const [numerator, denominator] = exactLia(paths);
        coupled(coupling.lia, paths).forEach((subflow, i) => {
          const { growth } = subflow.memory();
          const own = BigInt(paths[i].cwnd);
          expect(growth).toBeGreaterThanOrEqual(own);
          if (growth === own) expect(1000n * own * denominator).toBeGreaterThan(999n * numerator - 1000n * denominator);
          else {
            expect((growth - 1n) * denominator * 1000n).toBeLessThanOrEqual(numerator * 1001n);
            expect((growth + 1n) * denominator * 1000n).toBeGreaterThanOrEqual(numerator * 999n);
          }
        });
      }),
      { numRuns: 200 },
    );
  });
});

describe.each(Object.entries(coupling))("%s", (_, algorithm) => {
  it("leaves a window, and none that grows by more than was acknowledged, whatever the kernel's structures hold", () => {
    fc.assert(
      fc.property(garbage, fc.boolean(), (paths, loses) => {
        for (const [i, subflow] of coupled(algorithm, paths).entries()) {
          if (loses) host.vm.run("set_state", subflow.socket, 3);
          const before = BigInt(Math.max(paths[i].cwnd, 1));
          const threshold = host.vm.run("ssthresh", subflow.socket).returnValue;
          subflow.ack(2, refreshUs);
          expect(threshold).toBeGreaterThan(0);
          expect(subflow.get("cwnd")).toBeGreaterThan(0n);
          expect(subflow.get("cwnd")).toBeLessThanOrEqual(before + 2n > 0xffff_ffffn ? 0xffff_ffffn : before + 2n);
        }
      }),
      { numRuns: 100 },
    );
  });
});
