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

const open: StackSubflow[] = [];
/** So that what is known of them does not slow the next ones down. */
function closeAll(): void {
  for (const subflow of open.splice(0)) subflow.close();
}

/** A connection beyond slow start whose subflows are all coupled, each by the algorithm, and have just seen one another. */
function coupled(algorithm: number, paths: readonly Path[], isMptcp = true): StackSubflow[] {
  closeAll();
  const subflows = host.connect(
    isMptcp ? token++ : undefined,
    paths.map((path) => ({ ...path, ssthresh: 2 })),
  );
  open.push(...subflows);
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

/** Growth on a path alone, against Reno's. */
describe.each(Object.entries(coupling).filter(([name]) => name !== "wvegas"))("%s", (_, algorithm) => {
  it.each([
    ["there is one subflow", true],
    ["there is plain TCP", false],
  ])("grows as Reno does where %s", (_, isMptcp) => {
    fc.assert(
      fc.property(path, fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 30 }), ({ cwnd, ...rest }, acks) => {
        const alone = { ...rest, cwnd: Math.min(cwnd, 60_000) };
        const [subflow] = coupled(algorithm, [alone], isMptcp);
        const [plain] = host.connect(undefined, [{ ...alone, ssthresh: 2 }]);
        for (const acked of acks) {
          subflow.ack(acked, refreshUs);
          host.vm.run("cong_avoid", plain.socket, 0, acked);
        }
        expect(subflow.get("cwnd")).toBe(plain.get("cwnd"));
        const halves = [subflow, plain].map(({ socket }) => host.vm.run("ssthresh", socket).returnValue);
        expect(halves[0]).toBe(halves[1]);
      }),
      { numRuns: 50 },
    );
  });
});

describe("BALIA", () => {
  it("grows by the draft's formula within 1 in 1000, and gives up to three quarters of the window for a loss", () => {
    fc.assert(
      fc.property(connection, (paths) => {
        const rates = paths.map(({ cwnd, mss, srttUs }) => (cwnd * mss) / srttUs);
        const [sum, top] = [rates.reduce((all, one) => all + one, 0), Math.max(...rates)];
        coupled(coupling.balia, paths).forEach((subflow, i) => {
          const alpha = top / rates[i];
          const own = paths[i].cwnd;
          // The formula's rate ÷ (round trip · Σ²), with windows in packets of the subflow's own mss.
          const wanted = (10 * own * (sum / rates[i]) ** 2) / ((1 + alpha) * (4 + alpha));
          const { growth } = subflow.memory();
          const threshold = host.vm.run("ssthresh", subflow.socket).returnValue;
          expect(Math.abs(Number(growth) - wanted)).toBeLessThanOrEqual(wanted / 1000 + 1);
          expect(growth).toBeGreaterThanOrEqual(BigInt(own));
          const kept = Math.max(own - (own / 2) * Math.min(alpha, 1.5), 2);
          expect(Math.abs(threshold - kept)).toBeLessThanOrEqual(kept / 1000 + 1);
        });
      }),
      { numRuns: 200 },
    );
  });
});

describe("OLIA", () => {
  it("moves windows towards the path that carries more between losses, and stops where that has the largest", () => {
    const good = { cwnd: 20, mss: 1448, srttUs: 20_000 };
    const bad = { cwnd: 80, mss: 1448, srttUs: 20_000 };
    const [better, worse] = coupled(coupling.olia, [good, bad]);
    // The better path has lost nothing for long, the other one just did.
    better.set({ bytesAcked: 100_000_000 });
    worse.set({ bytesAcked: 1_000_000 });
    host.vm.run("set_state", worse.socket, 3);
    worse.set({ bytesAcked: 1_010_000 });
    host.vm.run("set_state", worse.socket, 3);
    const windows = () => [better, worse].map((one) => Number(one.get("cwnd")));
    let rounds = 0;
    for (; windows()[0] < windows()[1] && rounds < 2000; rounds++)
      for (const one of [better, worse]) one.ack(Number(one.get("cwnd")), refreshUs);
    expect(rounds).toBeLessThan(2000);
    expect(windows()[1]).toBeLessThan(80);
    expect(windows()[0]).toBeGreaterThan(20);
  });

  it("keeps the balance of LIA where no path is better", () => {
    const same = { cwnd: 50, mss: 1448, srttUs: 20_000 };
    const subflows = coupled(coupling.olia, [same, same]);
    // A packet for four windows, as many as there are squares of a half.
    for (const one of subflows) {
      const windows = [199, 1].map((acked) => {
        one.ack(acked);
        return Number(one.get("cwnd"));
      });
      expect(windows).toEqual([50, 51]);
    }
  });
});

/** ACKs of whole rounds, in which a path with `pipe` packets and a queue behind them is what the window makes of it. */
function rounds(subflow: StackSubflow, pipe: number, count: number): void {
  const baseUs = 20_000;
  let sent = 1;
  for (let i = 0; i < count; i++) {
    const cwnd = Number(subflow.get("cwnd"));
    const rttUs = Math.round(baseUs * Math.max(1, cwnd / pipe));
    subflow.set({ srttUs: rttUs, minRttUs: baseUs, sndNxt: sent });
    host.clockUs += refreshUs;
    subflow.set({ lastEventUs: host.clockUs });
    host.vm.run("cong_avoid", subflow.socket, sent, cwnd);
    sent += cwnd * 1448;
  }
}

describe("wVegas", () => {
  it("alone keeps ten packets in the queue, from below and from above", () => {
    for (const cwnd of [60, 118]) {
      const [subflow] = coupled(coupling.wvegas, [{ cwnd, mss: 1448, srttUs: 20_000 }]);
      rounds(subflow, 100, 150);
      expect(Number(subflow.get("cwnd"))).toBeGreaterThanOrEqual(108);
      expect(Number(subflow.get("cwnd"))).toBeLessThanOrEqual(112);
    }
  });

  it("shares the ten packets by rate among subflows, two at least", () => {
    const windows = [90, 10];
    const subflows = coupled(
      coupling.wvegas,
      windows.map((cwnd) => ({ cwnd, mss: 1448, srttUs: 30_000 })),
    );
    subflows.forEach((subflow, i) => rounds(subflow, windows[i] / 1.5, 1));
    expect(subflows.map((subflow) => subflow.memory()["alpha"])).toEqual([9n, 2n]);
  });
});
