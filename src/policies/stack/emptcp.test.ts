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
      { numRuns: 20 },
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
// 100 packets of 1000 bytes per 20 ms are 40 Mbit/s.
const wide = { cwnd: 100, srttUs: 20_000 };
const narrow = { cwnd: 125, srttUs: 50_000 };

function weigh(paths: readonly Fields[], weights: readonly number[]): StackSubflow[] {
  const subflows = connect(paths);
  subflows.forEach((subflow, i) => subflow.follow({ kind: strategy.weight, weight: weights[i] }));
  for (const subflow of subflows) subflow.ack(0, refreshUs);
  return subflows;
}

describe("strategy weight", () => {
  it.each([
    [
      [70, 30],
      [50, 17.14],
    ],
    [
      [1, 1],
      [20, 25],
    ],
    [
      [30, 70],
      [8.57, 25],
    ],
    [
      [65_535, 1],
      [50, 40 / 65_535],
    ],
  ])(
    "%j of 40 and 20 Mbit/s: as much as the shorter one makes of it, which may try for a quarter more",
    (weights, mbit) => {
      const paced = weigh([wide, narrow], weights).map(allowed);
      paced.forEach((one, i) => expect(Math.abs(one / mbit[i] - 1)).toBeLessThan(0.01));
    },
  );

  it("takes a path for no wider than what arrives of it while data waits", () => {
    const waits = { writeSeq: 50_000, maxPacketsOut: 100, deliveredInSample: 75, sampleUs: 20_000 };
    const [, slower] = weigh(
      [
        { ...wide, ...waits },
        { ...narrow, maxPacketsOut: 125 },
      ],
      [75, 25],
    );
    expect(allowed(slower)).toBeCloseTo(10, 0);
  });

  it("does not wait for a path that gives no answers, nor for subflows without a weight", () => {
    const [first, dead] = weigh([wide, narrow, narrow], [50, 50, 0]);
    expect(allowed(first)).toBeCloseTo(20, 0);
    dead.set({ caState: 4 });
    first.ack(0, refreshUs);
    expect(allowed(first)).toBeCloseTo(50, 0);
  });

  it("does not set what differs by less than 1 in 128", () => {
    const [first] = weigh([wide, narrow], [50, 50]);
    first.set({ srttUs: 20_050 });
    expect(limits(first.ack(0, refreshUs))).toEqual([]);
  });

  it("has no cap while it does not know what paths carry", () => {
    const [only] = weigh([{ ...wide, srttUs: 0 }], [1]);
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
