import { readFileSync, writeFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { disassemble } from "../../bpf/disassemble.ts";
import { congestionState } from "../../policy/index.ts";
import { strategy } from "../strategies.ts";
import { StackHost, type Fields, type StackSubflow } from "../testing/stack-host.ts";
import { emptcp } from "./emptcp.ts";

const refreshUs = 1000n;
const unlimited = 0xffff_ffff_ffff_ffffn;
const mss = 1000;
const host = new StackHost(emptcp);
let token = 1;

/** Subflows of a new connection that have had their first ACK. */
function connect(subflows: readonly Fields[], on = host): StackSubflow[] {
  const made = on.connect(
    token++,
    subflows.map((one) => ({ mss, ssthresh: 2, srttUs: 20_000, ...one })),
  );
  for (const subflow of made) subflow.ack(0, refreshUs);
  return made;
}

const alone = (fields: Fields = {}, on = host): StackSubflow => connect([fields], on)[0];

/** An ACK after which the strategy is in force. */
function obey(subflow: StackSubflow, fields: Fields): void {
  subflow.follow(fields);
  subflow.ack(0, refreshUs);
}

const limits = (result: ReturnType<StackSubflow["ack"]>): number[] =>
  result.socketOptions.map(({ value }) => new DataView(value.buffer).getUint32(0, true));

describe("emptcp without a strategy", () => {
  const nonsense: readonly Fields[] = [
    { kind: strategy.none },
    { kind: strategy.window, windowBytes: 0 },
    { kind: strategy.rate, rateBytesPerSecond: 0 },
    { kind: strategy.weight, weight: 0 },
    { kind: strategy.coupled, algorithm: 0 },
    { kind: strategy.coupled, algorithm: 5 },
    { kind: 6, weight: 1, windowBytes: 2000, rateBytesPerSecond: 1000 },
    { kind: 255, algorithm: 255 },
  ];

  it.each(nonsense)("grows as the base does: %j", (fields) => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 20 }), fc.boolean(), (acks, slow) => {
        const start = { cwnd: 10, ssthresh: slow ? 50 : 2, cwndCount: 0 };
        const [subflow] = connect([start]);
        subflow.follow(fields);
        const [other] = host.connect(undefined, [start]);
        for (const acked of acks) {
          expect(limits(subflow.ack(acked, refreshUs))).toEqual([]);
          host.vm.run("cong_avoid", other.socket, 0, acked);
        }
        for (const name of ["cwnd", "cwndCount", "ssthresh"]) expect(subflow.get(name)).toBe(other.get(name));
      }),
      { numRuns: 8 },
    );
  });
});

describe("strategy window", () => {
  it("caps the window from the next millisecond on, to whole packets and two at least, and lets go again", () => {
    const subflow = alone({ cwnd: 50 });
    subflow.follow({ kind: strategy.window, windowBytes: 12_999 });
    subflow.ack(1);
    expect(subflow.get("cwnd")).toBe(50n);
    subflow.ack(1, refreshUs);
    expect(subflow.get("cwnd")).toBe(12n);
    obey(subflow, { windowBytes: 1 });
    expect(subflow.get("cwnd")).toBe(2n);
    subflow.follow({ kind: strategy.none });
    for (let i = 0; i < 10; i++) subflow.ack(2, refreshUs);
    expect(subflow.get("cwnd")).toBeGreaterThan(4n);
  });

  it("leaves a smaller window to grow by itself", () => {
    const subflow = alone({ cwnd: 5 });
    obey(subflow, { kind: strategy.window, windowBytes: 1_000_000 });
    subflow.ack(10, refreshUs);
    expect(subflow.get("cwnd")).toBe(7n);
  });

  it("counts for a connection's subflows, each for itself, where they have none of their own", () => {
    const [first, second] = connect([{ cwnd: 50 }, { cwnd: 60 }]);
    expect(host.change("congestion", () => true, { kind: strategy.window, windowBytes: 20_000 })).toBeGreaterThan(0);
    obey(second, { kind: strategy.window, windowBytes: 30_000 });
    first.ack(1, refreshUs);
    expect([first.get("cwnd"), second.get("cwnd")]).toEqual([20n, 30n]);
    host.change("congestion", () => true, { kind: 0 });
  });
});

describe("strategy rate", () => {
  it("sets the cap once, follows changes, and puts back what the application had", () => {
    const subflow = alone({ maxPacingRate: 5_000_000 });
    subflow.follow({ kind: strategy.rate, rateBytesPerSecond: 1_000_000 });
    expect(limits(subflow.ack(1, refreshUs))).toEqual([1_000_000]);
    for (let i = 0; i < 5; i++) expect(limits(subflow.ack(1, refreshUs))).toEqual([]);
    subflow.follow({ rateBytesPerSecond: 2_000_000 });
    expect(limits(subflow.ack(1, refreshUs))).toEqual([2_000_000]);
    subflow.follow({ rateBytesPerSecond: 9_000_000 });
    expect(limits(subflow.ack(1, refreshUs))).toEqual([5_000_000]);
    subflow.follow({ kind: strategy.none });
    subflow.ack(1, refreshUs);
    expect(subflow.get("maxPacingRate")).toBe(5_000_000n);
  });

  it("has no limit afterwards where there was none, and takes the application's that came meanwhile", () => {
    const [free, limited] = [alone(), alone()];
    for (const subflow of [free, limited]) obey(subflow, { kind: strategy.rate, rateBytesPerSecond: 1_000_000 });
    limited.set({ maxPacingRate: 300_000 });
    limited.ack(1, refreshUs);
    // As the kernel does where there is a limit.
    for (const subflow of [free, limited]) subflow.set({ pacingStatus: 1 });
    for (const subflow of [free, limited]) obey(subflow, { kind: strategy.none });
    expect([free, limited].map((subflow) => subflow.get("pacingStatus"))).toEqual([0n, 1n]);
    expect(free.get("maxPacingRate")).toBe(unlimited);
    expect(limited.get("maxPacingRate")).toBe(300_000n);
  });

  it("puts back what the application had also after another version has taken its place", () => {
    const subflow = alone({ maxPacingRate: 5_000_000 });
    obey(subflow, { kind: strategy.rate, rateBytesPerSecond: 1_000_000 });
    host.vm.run("release", subflow.socket);
    subflow.follow({ kind: strategy.none });
    host.vm.run("init", subflow.socket);
    expect(subflow.get("maxPacingRate")).toBe(5_000_000n);
  });
});

describe("strategy credit", () => {
  const start = { cwnd: 10, packetsOut: 0, sndNxt: 1000 };

  it("opens the window by as many whole packets as were granted, spends them once, and probes beyond that", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffff_ffff }),
        fc.array(fc.record({ granted: fc.integer({ min: 0, max: 50_000 }), acked: fc.nat(20) }), { maxLength: 20 }),
        (isn, steps) => {
          const subflow = alone({ ...start, sndNxt: isn });
          let [granted, sent, inFlight] = [1, 0, 0];
          subflow.follow({ kind: strategy.credit, creditBytes: (isn + granted) >>> 0 || 1 });
          subflow.ack(0, refreshUs);
          for (const step of steps) {
            granted += step.granted;
            inFlight -= Math.min(step.acked, inFlight);
            subflow.follow({ creditBytes: 2 ** 32 + ((isn + granted) >>> 0) });
            subflow.set({ packetsOut: inFlight });
            subflow.event();
            const left = Math.max(0, Math.floor((granted - sent) / mss));
            expect(Number(subflow.get("cwnd"))).toBe(Math.max(inFlight + left, 2));
            // The sender fills the window.
            const packets = Math.max(0, Number(subflow.get("cwnd")) - inFlight);
            inFlight += packets;
            sent += packets * mss;
            subflow.set({ packetsOut: inFlight, sndNxt: (isn + sent) >>> 0 });
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  it("never stops probing: not without any credit, nor with one that is far behind", () => {
    const subflow = alone(start);
    for (const creditBytes of [1, 999, 0x9000_0000, 0]) {
      obey(subflow, { kind: strategy.credit, creditBytes });
      expect(subflow.get("cwnd")).toBe(2n);
    }
  });

  it("starts slowly, as the base would, while nobody grants anything any more", () => {
    const subflow = alone(start);
    obey(subflow, { kind: strategy.credit, creditBytes: 21_000 });
    subflow.ack(20, 1_000_000n);
    expect(subflow.get("cwnd")).toBe(20n);
    subflow.ack(20, 100_000n);
    expect(subflow.get("cwnd")).toBe(40n);
    subflow.follow({ creditBytes: 31_000 });
    subflow.ack(0, refreshUs);
    expect(subflow.get("cwnd")).toBe(30n);
  });

  it("counts what was granted while nothing was under way as soon as something is", () => {
    const subflow = alone(start);
    obey(subflow, { kind: strategy.credit, creditBytes: 21_000 });
    subflow.follow({ creditBytes: 31_000 });
    subflow.begin();
    expect(subflow.get("cwnd")).toBe(30n);
  });

  it("leaves the window to the kernel while losses are made up for", () => {
    const subflow = alone(start);
    obey(subflow, { kind: strategy.credit, creditBytes: 21_000 });
    subflow.set({ caState: congestionState.recovery, cwnd: 7 });
    subflow.follow({ creditBytes: 31_000 });
    subflow.event();
    expect(subflow.get("cwnd")).toBe(7n);
    subflow.set({ caState: congestionState.open });
    subflow.event();
    expect(subflow.get("cwnd")).toBe(30n);
  });

  it("starts slowly, as the base would, when it is taken back", () => {
    const subflow = alone(start);
    obey(subflow, { kind: strategy.credit, creditBytes: 21_000 });
    expect(subflow.get("cwnd")).toBe(20n);
    obey(subflow, { kind: strategy.none });
    subflow.ack(20, refreshUs);
    expect(subflow.get("cwnd")).toBe(40n);
  });
});

/** Mbit/s that a subflow is allowed. */
const allowed = (subflow: StackSubflow): number => (Number(subflow.get("maxPacingRate")) * 8) / 1e6;

interface WeighedPath {
  readonly weight: number;
  /** What it can carry. */
  mbit: number;
  readonly srttUs?: number;
  readonly caState?: number;
}

function weigh(paths: readonly WeighedPath[]): StackSubflow[] {
  const subflows = connect(paths.map(({ srttUs = 20_000 }) => ({ srttUs, sndNxt: 1, writeSeq: 50_001 })));
  subflows.forEach((subflow, i) => subflow.follow({ kind: strategy.weight, weight: paths[i].weight }));
  return subflows;
}

const roundUs = 100_000n;

/** Rounds in which paths carry what pacing lets through, up to what they can; `luck` is the part that arrives in its round. */
function carry(subflows: readonly StackSubflow[], paths: readonly WeighedPath[], rounds: number, luck = () => 1): void {
  const under = paths.map(() => 0);
  for (let round = 0; round < rounds; round++) {
    subflows.forEach((subflow, i) => {
      under[i] += (Math.min(paths[i].mbit, allowed(subflow)) * Number(roundUs)) / 8 / mss;
      const packets = Math.round(under[i] * luck());
      under[i] -= packets;
      subflow.set({ delivered: subflow.get("delivered") + BigInt(packets) });
      if (paths[i].mbit > 0) subflow.ack(0, i === 0 ? roundUs : 0n);
    });
  }
}

describe("strategy weight", () => {
  it.each([
    [
      [70, 30],
      [40, 40 * (30 / 70)],
    ],
    [
      [1, 1],
      [20, 20],
    ],
    [
      [30, 70],
      [20 * (30 / 70), 20],
    ],
    [
      [1000, 1],
      [40, 0.04],
    ],
  ])("%j of 40 and 20 Mbit/s: as much as the shorter one makes of it", (weights, mbit) => {
    const paths = [
      { weight: weights[0], mbit: 40 },
      { weight: weights[1], mbit: 20, srttUs: 50_000 },
    ];
    const subflows = weigh(paths);
    carry(subflows, paths, 40);
    // The one that is short may try for a quarter more, and for an eighth again where that arrives.
    subflows.forEach((subflow, i) => {
      expect(Math.min(paths[i].mbit, allowed(subflow)) / mbit[i]).toBeGreaterThan(0.94);
      expect(Math.min(paths[i].mbit, allowed(subflow)) / mbit[i]).toBeLessThan(1.06);
    });
  });

  it("keeps rates up and in proportion where much arrives late", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 20, max: 80 }),
        fc.infiniteStream(fc.double({ min: 0.6, max: 1, noNaN: true })),
        (weight, chance) => {
          const paths = [
            { weight, mbit: 40 },
            { weight: 100 - weight, mbit: 20, srttUs: 50_000 },
          ];
          const subflows = weigh(paths);
          carry(subflows, paths, 30, () => chance.next().value);
          const before = subflows.map((subflow) => Number(subflow.get("delivered")));
          const rounds = 60;
          carry(subflows, paths, rounds, () => chance.next().value);
          const [wifi, lte] = subflows.map(
            (subflow, i) => ((Number(subflow.get("delivered")) - before[i]) * mss * 8) / (rounds * Number(roundUs)),
          );
          const best = Math.min(40 / weight, 20 / (100 - weight)) * 100;
          expect(wifi + lte).toBeGreaterThan(0.5 * best);
          expect(wifi / (wifi + lte)).toBeGreaterThan((0.65 * weight) / 100);
          expect(lte / (wifi + lte)).toBeGreaterThan((0.65 * (100 - weight)) / 100);
        },
      ),
      { numRuns: 8 },
    );
  });

  it("follows a path that becomes narrower, and wider again", () => {
    const paths = [
      { weight: 50, mbit: 40 },
      { weight: 50, mbit: 20 },
    ];
    const subflows = weigh(paths);
    carry(subflows, paths, 20);
    for (const mbit of [5, 30]) {
      paths[1].mbit = mbit;
      carry(subflows, paths, 30);
      expect(allowed(subflows[0]) / mbit).toBeCloseTo(1, 0);
    }
  });

  it("does not wait for a path that gives no answers, nor for subflows without a weight", () => {
    const paths = [
      { weight: 50, mbit: 40 },
      { weight: 50, mbit: 20 },
      { weight: 0, mbit: 1 },
    ];
    const subflows = weigh(paths);
    carry(subflows, paths, 20);
    expect(Math.round(allowed(subflows[0]))).toBe(20);
    subflows[1].set({ caState: 4 });
    paths[1].mbit = 0;
    carry(subflows, paths, 20);
    expect(allowed(subflows[0])).toBeGreaterThan(40);
  });

  it("does not take a path for narrow that had nothing to send", () => {
    const paths = [
      { weight: 50, mbit: 20 },
      { weight: 50, mbit: 20 },
    ];
    const subflows = weigh(paths);
    carry(subflows, paths, 20);
    for (const subflow of subflows) subflow.set({ writeSeq: 1, isCwndLimited: 0 });
    for (const path of paths) path.mbit = 1;
    carry(subflows, paths, 20);
    expect(allowed(subflows[0])).toBeGreaterThan(19);
  });

  it("has no cap while it does not know what paths carry", () => {
    const paths = [{ weight: 1, mbit: 40 }];
    const [only] = weigh(paths);
    only.ack(0, refreshUs);
    expect(only.get("maxPacingRate")).toBe(unlimited);
  });
});

const slotOf = (subflow: StackSubflow): Record<string, bigint> | undefined =>
  host.records("metrics").find(({ fields }) => fields["owner"] !== 0n && fields["localPort"] === BigInt(subflow.port))
    ?.fields;

describe("metrics", () => {
  it("tell of each subflow of MPTCP, and no more once it is released", () => {
    const [first, second] = connect([{ cwnd: 33 }, { cwnd: 44 }]);
    for (const subflow of [first, second]) subflow.ack(0, refreshUs);
    const owner = slotOf(second)!["owner"];
    expect(slotOf(second)).toMatchObject({ cwnd: 44n, srttUs: 20_000n, mss: 1000n, remotePort: 5001n });
    expect(owner & 0xffff_ffffn).toBe(2n);
    expect(slotOf(second)).toMatchObject({ local2: 0xffff_0000n, local3: 0x0100_000an, remote3: 0x0200_000an });
    const known = () => host.records("slots").filter(({ key }) => key[32] + 256 * key[33] === second.port);
    expect(known()).toHaveLength(1);
    second.close();
    expect(slotOf(second)).toBeUndefined();
    expect(known()).toEqual([]);
    expect(slotOf(first)).toMatchObject({ cwnd: 33n, owner: owner - 1n });
  });

  it("are kept in as many slots as there are, and nobody's is taken", () => {
    const other = new StackHost(emptcp);
    const full = other.connect(
      7,
      Array.from({ length: 20 }, () => ({ mss, srttUs: 1000 })),
    );
    for (const subflow of full) subflow.ack(1, refreshUs);
    const owners = other.records("metrics").flatMap(({ fields }) => (fields["owner"] === 0n ? [] : [fields["owner"]]));
    expect(new Set(owners).size).toBe(full.length);
  });
});

describe("records", () => {
  it("of a subflow go with it, those of a connection with its last one, and stay where a socket only changes hands", () => {
    const own = new StackHost(emptcp);
    const [first, second] = connect([{}, {}], own);
    const counts = () => ["strategies", "congestion"].map((name) => own.records(name).length);
    expect(counts()).toEqual([2, 1]);
    own.vm.run("release", first.socket);
    expect(counts()).toEqual([2, 1]);
    own.vm.run("init", first.socket);
    first.ack(1, refreshUs);
    first.close();
    expect(counts()).toEqual([1, 1]);
    second.close();
    expect(counts()).toEqual([0, 0]);
  });

  it("are offered to whoever wants to write the next strategy", () => {
    const subflow = alone();
    const flags = () => host.flags("strategies", subflow.port);
    expect(flags()).toEqual([1]);
  });
});

/** Listings of operations as they are compiled for cubic, those of a few lines. UPDATE_GOLDEN=1 writes them anew. */
describe("golden listings", () => {
  const { programs } = new StackHost(emptcp, "cubic").compiled;
  it.each(["pkts_acked", "cwnd_event", "set_state", "ssthresh", "undo_cwnd"])("emptcp.%s", (member) => {
    const file = new URL(`../golden/emptcp.${member}.txt`, import.meta.url);
    const instructions = programs[member].instructions.map((one) =>
      one.position
        ? { ...one, position: { ...one.position, file: one.position.file.replace(/^.*\/src\//, "src/") } }
        : one,
    );
    const listing = `${disassemble(instructions, { source: true })}\n`;
    if (process.env["UPDATE_GOLDEN"]) writeFileSync(file, listing);
    expect(listing).toBe(readFileSync(file, "utf8"));
  });
});
