/** What was measured, as tables and plots. */
import type { Report, Section } from "../../report/report.ts";
import { formatValue } from "../../report/scales.ts";
import { formatSpread, spreadOf } from "../experiment.ts";
import { lengths, type Length } from "./chains.ts";
import { modes, type Effort, type Operations } from "./operations.ts";
import { flowBytes, type CpuCost, type FlowCost } from "./traffic.ts";
import type { TupleCost } from "./tuples.ts";

export interface Plan {
  readonly operations: Effort;
  readonly concurrent: readonly number[];
  readonly rounds: number;
  /** Flows at least, for each number of concurrent ones. */
  readonly flows: number;
  readonly tuples: readonly number[];
  readonly tuplePackets: number;
  readonly granularityFlows: number;
  readonly cpuRounds: number;
  readonly cpuMs: number;
}
/** As between servers of a data centre. */
export const rttMs = 1;
export const limitedMbit = 150;

export const chainLengths = Object.keys(lengths).map(Number) as Length[];
export const lengthName = (length: Length) => `length ${length} (${lengths[length].join(" + ")})`;

export interface Results {
  readonly plan: Plan;
  readonly operations: Operations;
  /** By number of concurrent flows, then by length. */
  readonly concurrent: readonly {
    readonly flows: number;
    readonly rttMs: number;
    readonly costs: Readonly<Record<string, readonly FlowCost[]>>;
  }[];
  readonly tuples: Readonly<Record<string, readonly TupleCost[]>>;
  readonly granularity: Readonly<Record<string, readonly FlowCost[]>>;
  readonly cpu: Readonly<Record<string, readonly CpuCost[]>>;
}

const shares = (costs: readonly FlowCost[]) => spreadOf(costs.map(({ sharePercent }) => sharePercent));
const fraction = (value: number) => Number(value.toPrecision(2));

export function operationsSection({ operations }: Results): Section {
  const rows = operations.measured;
  const title = "Cost of each operation alone (figure 5a)";
  return {
    id: "5a",
    title,
    text: [
      "Time per packet that a selector or an actor adds to a chain, and of the chain around them (entry: parsing, counters). " +
        "Fused chains are one program; linked ones, like the paper's, have a program for each policy. " +
        "The paper: nanoseconds, on a Raspberry Pi 95 to 859 ns, which is 1.8 times what its servers take.",
      ...(operations.left.length > 0 ? [`Not measured: ${operations.left.join("; ")}.`] : []),
    ],
    table: {
      columns: [
        { title: "operation" },
        { title: "kind" },
        ...modes.map((mode) => ({ title: `${mode} (ns)`, number: true as const })),
      ],
      rows: rows.map(({ name, kind, ns }) => [
        name,
        kind,
        // The kernel tells whole nanoseconds.
        ...modes.map((mode) => (ns[mode] < 1 ? "below 1" : ns[mode].toFixed(0))),
      ]),
    },
    plot: {
      kind: "bars",
      title,
      x: { label: "" },
      y: { label: "time per packet", unit: "ns" },
      groups: rows.map(({ name }) => name),
      series: modes.map((mode) => ({ name: mode, bars: rows.map(({ ns }) => ({ value: ns[mode] })) })),
    },
  };
}

export function concurrentSection({ concurrent }: Results): Section {
  const title = "Share of the flow completion time by length of the chain (figure 5b)";
  const [worst, ...delayed] = concurrent;
  const most = ({ costs }: Results["concurrent"][number]) =>
    fraction(Math.max(...chainLengths.map((length) => shares(costs[length]).value)));
  return {
    id: "5b",
    title,
    text: [
      `The chain's run time for a flow's packets, as a share of the flow's completion time: ${Math.max(...delayed.map(most))} % at most with a round trip of ${rttMs} ms; ` +
        `the paper: below 2 %, for up to 10 000 concurrent flows. Without any delay, when a flow lasts for ${spreadOf(worst.costs["none"].map((one) => one.completionMs)).value.toFixed(2)} ms, it is ${most(worst)} %.`,
      "Nothing limits the rate, and no chain spares a packet. Concurrent flows wait for each other, so what a chain takes is a " +
        "smaller part of their time. A packet of live traffic meets colder caches than one that is run over and over: it takes longer than figure 5a says.",
    ],
    table: {
      columns: [
        { title: "concurrent flows", number: true },
        { title: "round trip (ms)", number: true },
        { title: "completion without a chain (ms)", number: true },
        ...chainLengths.map((length) => ({ title: `share, ${lengthName(length)} (%)`, number: true as const })),
        ...chainLengths.map((length) => ({ title: `ns per packet, ${length}`, number: true as const })),
      ],
      rows: concurrent.map(({ flows, rttMs: delay, costs }) => [
        formatValue(flows),
        String(delay),
        formatSpread(spreadOf(costs["none"].map(({ completionMs }) => completionMs)), 2),
        ...chainLengths.map((length) => formatSpread(shares(costs[length]), 4)),
        ...chainLengths.map((length) => spreadOf(costs[length].map((one) => one.nsPerPacket)).value.toFixed(0)),
      ]),
    },
    plot: {
      kind: "lines",
      title,
      x: { label: "concurrent flows", log: true },
      y: { label: "share of the flow completion time", unit: "%", log: true },
      series: chainLengths.map((length) => ({
        name: lengthName(length),
        points: delayed.map(({ flows, costs }) => {
          const { value, low, high } = shares(costs[length]);
          return { x: flows, y: value, low, high };
        }),
      })),
    },
  };
}

export function tuplesSection({ plan, tuples }: Results): Section {
  const title = "Time per packet by the number of flows that a chain knows";
  return {
    id: "5b-flows",
    title,
    text: [
      "The same programs on packets of so many flows in turn, each run once, so with cold caches; what an empty program takes is " +
        "subtracted. A look-up takes as many steps for 10 000 flows as for one; what grows is how often a flow's record is out of the processor's caches.",
    ],
    table: {
      columns: [
        { title: "flows", number: true },
        ...chainLengths.map((length) => ({ title: `${lengthName(length)} (ns)`, number: true as const })),
      ],
      rows: plan.tuples.map((flows, i) => [
        formatValue(flows),
        ...chainLengths.map((length) => tuples[length][i].ns.toFixed(0)),
      ]),
    },
    plot: {
      kind: "lines",
      title,
      x: { label: "flows", log: true },
      y: { label: "time per packet", unit: "ns" },
      series: chainLengths.map((length) => ({
        name: lengthName(length),
        points: tuples[length].map(({ flows, ns }) => ({ x: flows, y: ns })),
      })),
    },
  };
}

export function granularitySection({ plan, granularity }: Results): Section {
  const title = "Share of the flow completion time by granularity (figure 5c)";
  const names = Object.keys(granularity);
  const mean = names.reduce((sum, name) => sum + shares(granularity[name]).value, 0) / names.length;
  return {
    id: "5c",
    title,
    text: [
      `A chain of length 4, ${plan.granularityFlows} concurrent flows, selections from all packets to none: ${fraction(mean)} % on average; the paper: 0.63 %.`,
      "The fewer packets are selected, the less the actors cost; what remains is looking at every packet.",
    ],
    table: {
      columns: [
        { title: "selected" },
        { title: "of the packets (%)", number: true },
        { title: "share (%)", number: true },
        { title: "ns per packet", number: true },
      ],
      rows: names.map((name) => [
        name,
        spreadOf(granularity[name].map(({ selectedPercent }) => selectedPercent)).value.toFixed(1),
        formatSpread(shares(granularity[name]), 4),
        spreadOf(granularity[name].map(({ nsPerPacket }) => nsPerPacket)).value.toFixed(0),
      ]),
    },
    plot: {
      kind: "bars",
      title,
      x: { label: "selected" },
      y: { label: "share of the flow completion time", unit: "%" },
      groups: names,
      series: [{ name: "length 4", bars: names.map((name) => shares(granularity[name])) }],
    },
  };
}

export function cpuSection({ cpu }: Results): Section {
  const title = "Processor time of chains (figure 5d)";
  const spread = (side: string, of: (cost: CpuCost) => number) => spreadOf(cpu[side].map(of));
  const most = Math.max(...chainLengths.map((length) => spread(String(length), (one) => one.chainPercent).value));
  return {
    id: "5d",
    title,
    text: [
      `A transfer of ${limitedMbit} Mbit/s in single packets: chains take ${fraction(most)} % of the processors at most, by the kernel's account of their run time; the paper: below 0.35 %.`,
      "That account includes part of what taking the time costs. How busy the whole machine is varies by more than that from run to run.",
    ],
    table: {
      columns: [
        { title: "chain" },
        { title: "throughput (Mbit/s)", number: true },
        { title: "chain's run time (% of all processors)", number: true },
        { title: "machine busy (%)", number: true },
      ],
      rows: ["none", ...chainLengths.map(String)].map((side) => [
        side === "none" ? "none" : lengthName(Number(side) as Length),
        formatSpread(spread(side, (one) => one.mbit)),
        side === "none"
          ? "0"
          : formatSpread(
              spread(side, (one) => one.chainPercent),
              3,
            ),
        formatSpread(spread(side, (one) => one.busyPercent)),
      ]),
    },
    plot: {
      kind: "bars",
      title,
      x: { label: "chain" },
      y: { label: "run time, of all processors", unit: "%" },
      groups: chainLengths.map(lengthName),
      series: [
        { name: "chain", bars: chainLengths.map((length) => spread(String(length), (one) => one.chainPercent)) },
      ],
    },
  };
}

export function checksOf({ concurrent, granularity, operations }: Results): Report["checks"] {
  const runs = concurrent.flatMap(({ costs }) => chainLengths.flatMap((length) => costs[length]));
  const least = Math.min(...runs.map(({ packetsPerFlow }) => packetsPerFlow));
  const worstNs = Math.max(...operations.measured.flatMap(({ ns }) => Object.values(ns)));
  const selected = (name: string) => spreadOf(granularity[name].map((one) => one.selectedPercent)).value;
  return [
    {
      what: "every packet of every flow met its chain",
      ok: least * 1500 >= flowBytes && runs.every((one) => one.selectedPercent === 100),
      seen: `${least.toFixed(1)} packets a flow at least, all of them selected`,
    },
    {
      what: "selections picked what they name",
      ok: selected("every packet") === 100 && selected("another host") === 0 && selected("packets with data") < 100,
      seen: Object.keys(granularity)
        .map((name) => `${name} ${selected(name).toFixed(1)} %`)
        .join(", "),
    },
    {
      what: "operations were measured",
      ok: operations.measured.length > 5 && worstNs < 100_000,
      seen: `${operations.measured.length}, the longest ${worstNs.toFixed(0)} ns`,
    },
  ];
}
