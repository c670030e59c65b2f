/**
 * Use case 1 of the paper (section V, figure 7): congestion that is not caused. Parallel downloads over two bottlenecks with
 * small buffers, by the kernel's default congestion control, and by credits that the client's ACKs bring.
 */
import { createLab } from "../lab.ts";
import type { Section } from "../report/report.ts";
import { arrangeCredits, grantedShare } from "./credits/arrange.ts";
import { download, type Sample } from "./credits/measure.ts";
import { bottleneck, place } from "./credits/place.ts";
import {
  changePercent,
  formatChange,
  formatSpread,
  inTurn,
  spreadOf,
  type Experiment,
  type ExperimentOptions,
  type Findings,
} from "./experiment.ts";

const sides = ["cubic", "credits"] as const;
type Side = (typeof sides)[number];
const sideNames: Readonly<Record<Side, string>> = { cubic: "default (cubic)", credits: "credits" };

interface Plan {
  readonly connections: readonly number[];
  readonly rounds: number;
  readonly seconds: number;
  /** Of what the default sends again, credits may do so with this much, in percent; of its throughput they keep at least this. */
  readonly mostRepeatedPercent: number;
  readonly leastThroughputPercent: number;
}

const whole: Plan = {
  connections: [1, 5, 10, 20, 30],
  rounds: 3,
  seconds: 8,
  mostRepeatedPercent: 10,
  leastThroughputPercent: 95,
};
/** Short runs are for the most part their beginning, when nothing has been granted yet. */
const quick: Plan = {
  connections: [1, 10],
  rounds: 1,
  seconds: 2,
  mostRepeatedPercent: 60,
  leastThroughputPercent: 80,
};

type Samples = Readonly<Record<Side, readonly Sample[]>>;

async function run({ quick: brief, onProgress = () => {} }: ExperimentOptions): Promise<Findings> {
  const plan = brief ? quick : whole;
  await using lab = await createLab(place);
  const results: Samples[] = [];
  for (const connections of plan.connections) {
    results.push(
      await inTurn(sides, plan.rounds, async (side, round) => {
        const credits = side === "credits" ? arrangeCredits(lab) : undefined;
        try {
          const sample = await download(lab, connections, plan.seconds);
          const done = `${connections} connections, ${sideNames[side]}, round ${round + 1} of ${plan.rounds}`;
          onProgress(`${done}: ${sample.mbit.toFixed(1)} Mbit/s, ${total(sample)} retransmissions`);
          return sample;
        } finally {
          credits?.undo();
        }
      }),
    );
  }
  return findings(plan, results);
}

const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0);
const total = ({ retransmissions }: Sample) => retransmissions.at(-1)!.count;
const totals = (samples: readonly Sample[]) => samples.map(total);
const mbits = (samples: readonly Sample[]) => samples.map(({ mbit }) => mbit);
const rtts = (samples: readonly Sample[]) => samples.map(({ rttMs }) => rttMs);
const evennesses = (samples: readonly Sample[]) => samples.map(({ evenness }) => evenness);

const within = ({ retransmissions }: Sample, seconds: number) =>
  retransmissions.filter((one) => one.seconds <= seconds).at(-1)!.count;

function overTime(plan: Plan, { cubic, credits }: Samples): Section {
  const connections = plan.connections.at(-1)!;
  const title = `Retransmissions over time, ${connections} connections (figure 7a)`;
  const last = { cubic: cubic.at(-1)!, credits: credits.at(-1)! };
  return {
    id: "7a",
    title,
    text: [
      `All connections start at once, at 0 s. By default every one of them probes until a buffer overflows, again and again: ${total(last.cubic)} segments ` +
        `are sent twice in ${plan.seconds} s, ${within(last.cubic, 1.25)} of them in the first one. With credits it is ${total(last.credits)}.`,
    ],
    table: {
      columns: [
        { title: "time (s)", number: true },
        ...sides.map((side) => ({ title: `${sideNames[side]} (segments)`, number: true as const })),
      ],
      rows: Array.from({ length: plan.seconds }, (_, i) => [
        String(i + 1),
        ...sides.map((side) => String(within(last[side], i + 1.25))),
      ]),
    },
    plot: {
      kind: "lines",
      title,
      x: { label: "time", unit: "s" },
      y: { label: "retransmissions so far", unit: "segments" },
      series: sides.map((side) => ({
        name: sideNames[side],
        points: last[side].retransmissions.map(({ seconds, count }) => ({ x: seconds, y: count })),
      })),
    },
  };
}

const column = (title: string) =>
  sides.map((side) => ({ title: `${sideNames[side]} (${title})`, number: true as const }));

function byConnections(plan: Plan, results: readonly Samples[]): readonly Section[] {
  const line = (what: string, unit: string, values: (samples: readonly Sample[]) => number[]) => ({
    kind: "lines" as const,
    x: { label: "parallel connections" },
    y: { label: what, unit },
    series: sides.map((side) => ({
      name: sideNames[side],
      points: results.map((result, i) => {
        const { value, low, high } = spreadOf(values(result[side]));
        return { x: plan.connections[i], y: value, low, high };
      }),
    })),
  });
  const many = results.at(-1)!;
  const rtt = (side: Side) => spreadOf(rtts(many[side])).value.toFixed(1);
  const even = (side: Side) => spreadOf(evennesses(many[side])).value.toFixed(2);
  const retransmissions = "Retransmissions by parallel connections (figure 7b)";
  const throughput = "Throughput by parallel connections (figure 7b)";
  return [
    {
      id: "7b-retransmissions",
      title: retransmissions,
      text: [
        "By default they grow with the number of connections: each has its own window to try out, at least two segments of it " +
          "are always under way, and the buffers are the same for all. Credits are handed out for what the links carry, however " +
          "many share it.",
      ],
      table: {
        columns: [{ title: "connections", number: true }, ...column("segments"), ...column("RTT, ms")],
        rows: results.map((result, i) => [
          String(plan.connections[i]),
          ...sides.map((side) => formatSpread(spreadOf(totals(result[side])), 0)),
          ...sides.map((side) => formatSpread(spreadOf(rtts(result[side])))),
        ]),
      },
      plot: { ...line("retransmissions", "segments", totals), title: retransmissions },
    },
    {
      id: "7b-throughput",
      title: throughput,
      text: [
        `With ${plan.connections.at(-1)} connections throughput changes by ${formatChange(changePercent(mbits(many.cubic), mbits(many.credits)))}. ` +
          "What is not lost need not be sent again, and nobody waits for it, which counts most for a single connection. On the " +
          "other hand a hundredth of what the links carry is never granted, and what nobody could take within 8 ms, when a busy " +
          "machine holds ACKs up, is gone.",
        `The round trip is ${rtt("cubic")} ms by default and ${rtt("credits")} ms with credits, of ${bottleneck.rttMs} ms without any queue; with a ` +
          "window of a few segments an ACK that is delayed shows in it as well. " +
          `The slowest connection has ${even("cubic")} of what the fastest has by default, ${even("credits")} with credits.`,
      ],
      table: {
        columns: [
          { title: "connections", number: true },
          ...column("Mbit/s"),
          { title: "change", number: true },
          ...column("slowest : fastest"),
        ],
        rows: results.map((result, i) => [
          String(plan.connections[i]),
          ...sides.map((side) => formatSpread(spreadOf(mbits(result[side])))),
          formatChange(changePercent(mbits(result.cubic), mbits(result.credits))),
          ...sides.map((side) => formatSpread(spreadOf(evennesses(result[side])), 2)),
        ]),
      },
      plot: { ...line("goodput of all connections", "Mbit/s", mbits), title: throughput },
    },
  ];
}

function findings(plan: Plan, results: readonly Samples[]): Findings {
  const { mostRepeatedPercent, leastThroughputPercent } = plan;
  const many = results.at(-1)!;
  const repeated = (100 * spreadOf(totals(many.credits)).value) / spreadOf(totals(many.cubic)).value;
  const mean = (side: Side) => sum(results.map((result) => spreadOf(mbits(result[side])).value)) / results.length;
  const throughput = (100 * mean("credits")) / mean("cubic");
  const all = results.flatMap(({ cubic, credits }) => [...cubic, ...credits]);
  return {
    title: "Proactive congestion control: credits for what the bottlenecks carry",
    question:
      "Reactive congestion control finds out what a path carries by losing segments. When the receiver's side hands out credit " +
      "for its links instead, and senders spend no more, how much has to be sent again, and at what throughput?",
    setup: [
      `a server and a client, two paths through a router; each ends in a link of ${bottleneck.rateMbit} Mbit/s and ${bottleneck.rttMs} ms with a buffer of ${bottleneck.queueMs} ms (drop-tail)`,
      "default: cubic, every subflow for itself",
      `credits: on each of the client's links, a chain with grant_credits at ${100 * grantedShare} % of the link's rate; on the server, chains with audit_credits and with stack_credit, which puts subflows under congestion control emptcp`,
      `${plan.connections.join(", ")} parallel downloads, each over both paths, for ${plan.seconds} s from the start of all; ${plan.rounds} rounds, sides in turn; medians, least and greatest`,
    ],
    sections: [overTime(plan, many), ...byConnections(plan, results)],
    checks: [
      {
        what: `with ${plan.connections.at(-1)} connections, credits need at most ${mostRepeatedPercent} % of the default's retransmissions`,
        ok: repeated <= mostRepeatedPercent,
        seen: `${repeated.toFixed(1)} %`,
      },
      {
        what: `throughput, of all numbers of connections together, is at least ${leastThroughputPercent} % of the default's`,
        ok: throughput >= leastThroughputPercent,
        seen: `${throughput.toFixed(1)} %`,
      },
      {
        what: "every connection had two subflows, and every byte arrived",
        ok: all.every(({ delivered, subflows }) => delivered && subflows === 2),
        seen: `${all.filter(({ delivered }) => delivered).length} of ${all.length} runs whole`,
      },
    ],
    data: { connections: plan.connections, results },
  };
}

export const credits: Experiment = {
  name: "credits",
  summary: "parallel downloads by credit instead of by loss",
  run,
};
