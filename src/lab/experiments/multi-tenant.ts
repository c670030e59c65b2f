/**
 * Use case 2 of the paper (section V, figures 8a and 8b): tenants' machines have one interface each and speak MPTCP; their
 * hypervisors have two uplinks, and a chain there sends the subflows of a connection over both.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ActorChain, PolicyChain, SelectorChain } from "../../chain/index.ts";
import { runTool } from "../execute.ts";
import { createLab, type Lab } from "../lab.ts";
import { readLinkCounters } from "../measure/counters.ts";
import { flood, headerBytes } from "../measure/flood.ts";
import { bare } from "../plan.ts";
import type { Section } from "../report/report.ts";
import type { HostSpec, LabSpec } from "../spec.ts";
import { megabits, startTransfer, type Transfer } from "../workload/transfer.ts";
import {
  attachChain,
  changePercent,
  formatChange,
  formatSpread,
  inTurn,
  spreadOf,
  type Experiment,
  type ExperimentOptions,
  type Findings,
} from "./experiment.ts";
import { joined } from "./policies/joined.ts";

const uplinkMbit = 50;
const rttMs = 4;
const joinPort = 7001;
const [first, second] = ["up1", "up2"] as const;

/** What the hypervisors do with packets of their guests. */
const sides = ["one uplink", "hashed", "chain"] as const;
type Side = (typeof sides)[number];
const sideNames: Readonly<Record<Side, string>> = {
  "one uplink": "everything over one uplink",
  hashed: "flows hashed over both (ECMP)",
  chain: "chain: joined subflows over the other",
};

interface Plan {
  readonly pairs: readonly number[];
  readonly backgroundMbit: readonly number[];
  readonly rounds: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
}

const whole: Plan = { pairs: [1, 2, 4], backgroundMbit: [0, 20, 40], rounds: 5, warmUpMs: 1000, measureMs: 2500 };
const quick: Plan = { pairs: [1], backgroundMbit: [0, 30], rounds: 1, warmUpMs: 500, measureMs: 700 };

const guest = (side: "a" | "b", pair: number) => `${side}${pair}`;
const network = (side: "a" | "b", pair: number) => `10.${side === "a" ? 1 : 2}.${pair}.0/24`;
const tap = (side: "a" | "b", pair: number) => `v${guest(side, pair)}`;

/** `count` pairs of guests, one of each pair behind either hypervisor. */
export function tenantLab(count: number): LabSpec {
  const pairs = Array.from({ length: count }, (_, i) => i + 1);
  const hypervisor = (far: "a" | "b"): HostSpec => ({
    forwards: true,
    routes: Object.fromEntries(pairs.map((pair) => [network(far, pair), first])),
  });
  const guests = (["a", "b"] as const).flatMap((side) =>
    pairs.map((pair): [string, HostSpec] => {
      const link = tap(side, pair);
      // A guest of one address takes further subflows on another port, and says so to its peer.
      const address = network(side, pair).replace(/0\/24$/, "1");
      return [
        guest(side, pair),
        {
          routes: { "0.0.0.0/0": link },
          ...(side === "b" && { announces: [{ address, port: joinPort, link }] }),
        },
      ];
    }),
  );
  return {
    hosts: { ...Object.fromEntries(guests), hypera: hypervisor("b"), hyperb: hypervisor("a") },
    links: [
      ...(["a", "b"] as const).flatMap((side) =>
        pairs.map((pair) => ({
          name: tap(side, pair),
          between: [guest(side, pair), `hyper${side}`] as const,
          ipv4: network(side, pair),
        })),
      ),
      { name: first, between: ["hypera", "hyperb"], rateMbit: uplinkMbit, rttMs },
      { name: second, between: ["hypera", "hyperb"], rateMbit: uplinkMbit, rttMs },
    ],
  };
}

/** Makes both hypervisors do as `side` says; the function returned takes it back. */
function arrange(lab: Lab, side: Side, pairs: number): () => void {
  if (side === "one uplink") return () => {};
  const undo: (() => void)[] = [];
  for (const [index, [own, far]] of (
    [
      ["a", "b"],
      ["b", "a"],
    ] as const
  ).entries()) {
    const host = `hyper${own}`;
    if (side === "hashed") {
      const hop = (link: string) => `via ${bare(lab.link(link).ends[1 - index].ipv4)} dev ${link}`;
      for (let pair = 1; pair <= pairs; pair++) {
        const replace = (hops: string) =>
          runTool(lab.netnsOf(host), "ip", `route replace ${network(far, pair)} ${hops}`.split(" "));
        replace(`nexthop ${hop(first)} nexthop ${hop(second)}`);
        undo.push(() => replace(hop(first)));
      }
    } else {
      const ends = lab.link(second).ends;
      const actors = new ActorChain()
        .add("mac_modify", { source: ends[index].mac, destination: ends[1 - index].mac })
        .add("redirect", { interface: second });
      const chain = new PolicyChain(new SelectorChain().select(joined), actors, { direction: "ingress" });
      const taps = Array.from({ length: pairs }, (_, i) => tap(own, i + 1));
      undo.push(attachChain(lab, host, `spread-${own}`, chain, taps).detach);
    }
  }
  return () => undo.forEach((one) => one());
}

interface Sample {
  readonly mbit: number;
  /** Share of what went over the uplinks, in percent. */
  readonly secondPercent: number;
  /** Everything arrived as it was sent, over two subflows from one address. */
  readonly delivered: boolean;
  readonly subflows: number;
}

async function measure(lab: Lab, plan: Plan, pairs: number, backgroundMbit: number, side: Side): Promise<Sample> {
  const undo = arrange(lab, side, pairs);
  const transfers: Transfer[] = [];
  const background = startBackground(lab, backgroundMbit, plan.warmUpMs + plan.measureMs);
  try {
    for (let pair = 1; pair <= pairs; pair++) {
      const address = bare(lab.link(tap("b", pair)).ends[0].ipv4);
      const ends = { client: guest("a", pair), server: guest("b", pair), address };
      transfers.push(await startTransfer(lab, { ...ends, direction: "upload" }));
    }
    await sleep(plan.warmUpMs);
    const before = read(lab, transfers);
    await sleep(plan.measureMs);
    const after = read(lab, transfers);
    const subflows = Math.min(...transfers.map((transfer) => transfer.info().subflows.length));
    await background;
    const results = await Promise.all(transfers.map((transfer) => transfer.stop()));
    const [one, other] = [after.first - before.first, after.second - before.second];
    return {
      mbit: megabits(after.received - before.received, after.atMs - before.atMs),
      secondPercent: (100 * other) / (one + other),
      delivered: results.every(({ ok }) => ok),
      subflows,
    };
  } finally {
    for (const transfer of transfers) transfer.abort();
    await background;
    undo();
  }
}

function read(lab: Lab, transfers: readonly Transfer[]) {
  lab.check();
  const counters = readLinkCounters(lab);
  return {
    atMs: performance.now(),
    received: transfers.reduce((sum, transfer) => sum + transfer.receivedBytes, 0),
    first: counters[first].forward.delivered.bytes,
    second: counters[second].forward.delivered.bytes,
  };
}

/** Datagrams of other tenants, over the first uplink, which they all leave by. */
async function startBackground(lab: Lab, mbit: number, durationMs: number): Promise<void> {
  if (mbit === 0) return;
  const frameBytes = 1400 + headerBytes;
  const packetsPerSecond = (mbit * 1e6) / 8 / frameBytes;
  const packets = Math.round((packetsPerSecond * durationMs) / 1000);
  await flood(lab, { link: lab.link(first), direction: "forward", frameBytes, packetsPerSecond, packets });
}

type Samples = Readonly<Record<Side, readonly Sample[]>>;

async function run({ quick: brief, onProgress = () => {} }: ExperimentOptions): Promise<Findings> {
  const plan = brief ? quick : whole;
  await using lab = await createLab(tenantLab(Math.max(...plan.pairs)));
  const sweep = async (what: string, values: readonly number[], at: (value: number) => readonly [number, number]) => {
    const results: Samples[] = [];
    for (const value of values) {
      const [pairs, background] = at(value);
      results.push(
        await inTurn(sides, plan.rounds, async (side, round) => {
          const sample = await measure(lab, plan, pairs, background, side);
          const done = `${what} ${value}, ${sideNames[side]}, round ${round + 1} of ${plan.rounds}`;
          onProgress(`${done}: ${sample.mbit.toFixed(1)} Mbit/s`);
          return sample;
        }),
      );
    }
    return results;
  };
  const byPairs = await sweep("pairs", plan.pairs, (pairs) => [pairs, 0]);
  const loaded = await sweep("background Mbit/s", plan.backgroundMbit.slice(1), (mbit) => [1, mbit]);
  const byBackground = [byPairs[plan.pairs.indexOf(1)], ...loaded];
  return findings(plan, byPairs, byBackground);
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const mbits = (samples: readonly Sample[]) => samples.map(({ mbit }) => mbit);

function sectionOf(
  id: string,
  title: string,
  label: { readonly label: string; readonly unit?: string },
  values: readonly number[],
  results: readonly Samples[],
  text: readonly string[],
): Section {
  return {
    id,
    title,
    text,
    table: {
      columns: [
        { title: label.unit === undefined ? label.label : `${label.label} (${label.unit})`, number: true },
        { title: "one uplink (Mbit/s)", number: true },
        { title: "hashed (Mbit/s)", number: true },
        { title: "chain (Mbit/s)", number: true },
        { title: "gain on one", number: true },
        { title: "gain on hashed (means)", number: true },
        { title: "share of the second uplink", number: true },
      ],
      rows: values.map((value, i) => {
        const result = results[i];
        return [
          String(value),
          ...sides.map((side) => formatSpread(spreadOf(mbits(result[side])))),
          formatChange(changePercent(mbits(result["one uplink"]), mbits(result.chain))),
          formatChange(100 * (mean(mbits(result.chain)) / mean(mbits(result.hashed)) - 1)),
          `${spreadOf(result.chain.map(({ secondPercent }) => secondPercent)).value.toFixed(0)} %`,
        ];
      }),
    },
    plot: {
      kind: "bars",
      title,
      x: { label: label.unit === undefined ? label.label : `${label.label} (${label.unit})` },
      y: { label: "goodput of all pairs", unit: "Mbit/s" },
      groups: values.map(String),
      series: sides.map((side) => ({
        name: sideNames[side],
        bars: results.map((result) => spreadOf(mbits(result[side]))),
      })),
    },
  };
}

function findings(plan: Plan, byPairs: readonly Samples[], byBackground: readonly Samples[]): Findings {
  const gain = (result: Samples) => changePercent(mbits(result["one uplink"]), mbits(result.chain));
  const idle = gain(byBackground[0]);
  const busiest = plan.backgroundMbit.at(-1)!;
  const busy = gain(byBackground.at(-1)!);
  const all = [...byPairs, ...byBackground];
  const of = (side: Side) => all.flatMap((result) => result[side]);
  const shares = (side: Side) => of(side).map(({ secondPercent }) => secondPercent);
  return {
    title: "Multi-tenant: subflows of guests over two uplinks",
    question:
      "Guests with one interface open two subflows per connection, both to the same address. How much more do they get when " +
      "their hypervisors send the joined subflow over a second uplink (mac_modify and redirect)?",
    setup: [
      `${Math.max(...plan.pairs)} pairs of guests, each a network namespace with one interface and one address; the receiving one announces port ${joinPort}`,
      `two hypervisors, joined by two uplinks of ${uplinkMbit} Mbit/s and ${rttMs} ms; by default they forward everything over the first`,
      "chain: on what arrives from guests, select(joined) → mac_modify, redirect; joined learns subflows from their MP_JOIN handshakes",
      "hashed: the hypervisors' routes have both uplinks, the kernel picks one by addresses and ports (ECMP)",
      `background: datagrams at a constant rate over the first uplink, 1 pair of guests`,
      `${plan.rounds} rounds, sides in turn; ${plan.measureMs / 1000} s of one bulk transfer per pair (cubic) after ${plan.warmUpMs / 1000} s; medians, least and greatest`,
    ],
    sections: [
      sectionOf("8a", "Throughput by pairs of guests (figure 8a)", { label: "pairs" }, plan.pairs, byPairs, [
        `Without background traffic one pair gains ${formatChange(idle)}; the paper gains +23.0 %.`,
        "Every pair has one subflow on either uplink, so the sum of both is there for one pair as for many. Hashing does as well " +
          "only where the ports of a pair's two subflows happen to fall on different uplinks, which is every other time for one " +
          "pair, and evens out the more pairs there are: its spread tells more than its median.",
      ]),
      sectionOf(
        "8b",
        "Throughput by background traffic (figure 8b)",
        { label: "background", unit: "Mbit/s" },
        plan.backgroundMbit,
        byBackground,
        [
          `With ${busiest} Mbit/s of background traffic the pair gains ${formatChange(busy)}; the paper gains +32.3 % at 3 Gbit/s.`,
          "What others take from the first uplink is lost to a guest that has only that one; with the chain the second uplink " +
            "stays whole, so the gain grows with the load. All background traffic is on the first uplink here; where both " +
            "carry some, less is free, and less is gained.",
        ],
      ),
    ],
    checks: [
      {
        what: "with the chain, packets of joined subflows left by the other uplink",
        ok: shares("chain").every((percent) => percent > 10),
        seen: `${Math.min(...shares("chain")).toFixed(0)} % of the bytes at least`,
      },
      {
        what: "without it, none did",
        ok: shares("one uplink").every((percent) => percent < 0.1),
        seen: `${Math.max(...shares("one uplink")).toFixed(2)} % of the bytes at most`,
      },
      {
        what: "every guest had two subflows, and every byte arrived",
        ok: sides.every((side) => of(side).every(({ delivered, subflows }) => delivered && subflows === 2)),
        seen: `${sides.flatMap(of).filter(({ delivered }) => delivered).length} of ${sides.flatMap(of).length} runs whole`,
      },
    ],
    data: { pairs: plan.pairs, byPairs, backgroundMbit: plan.backgroundMbit, byBackground },
  };
}

export const multiTenant: Experiment = {
  name: "multi-tenant",
  summary: "guests' subflows over two uplinks of their hypervisor",
  run,
};
