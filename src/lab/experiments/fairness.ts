/**
 * Whether an MPTCP connection takes more than a TCP connection where its subflows meet at one bottleneck (paper 004, figures 4
 * and 5), and whether it still uses what paths that share nothing have to give.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { createLab, type Lab } from "../lab.ts";
import { median } from "../measure/programs.ts";
import type { Section } from "../report/report.ts";
import { megabits, startTransfer, type Transfer } from "../workload/transfer.ts";
import {
  formatSpread,
  inTurn,
  spreadOf,
  type Experiment,
  type ExperimentOptions,
  type Findings,
} from "./experiment.ts";
import { controls, Coupling, lossBased, uncoupled, type Control } from "./fairness/controls.ts";
import {
  bottleneck,
  bottleneckPlace,
  disjoint,
  poolPlace,
  together,
  type Contest,
  type Ends,
} from "./fairness/places.ts";

/** Figure 4: MPTCP with two subflows against so many TCP connections; figure 5: one TCP against so many subflows. */
const figures = { "4": [1, 2, 3], "5": [1, 2, 3] } as const;
const pairing: Contest = { tcps: 1, subflows: 2 };

interface Plan {
  readonly controls: readonly Control[];
  readonly contests: readonly Contest[];
  readonly rounds: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** By how much a ratio of rates may be on the wrong side of what is checked: short runs say little. */
  readonly slack: number;
}
const whole: Plan = {
  controls,
  contests: [
    ...figures["5"].map((subflows) => ({ tcps: 1, subflows })),
    ...figures["4"].slice(1).map((tcps) => ({ tcps, subflows: 2 })),
  ],
  rounds: 2,
  warmUpMs: 3000,
  measureMs: 12_000,
  slack: 1,
};
const quick: Plan = {
  controls: [uncoupled, "balia"],
  contests: [pairing, { tcps: 1, subflows: 3 }],
  rounds: 1,
  warmUpMs: 1500,
  measureMs: 2500,
  slack: 1.5,
};

const lossBasedOf = (plan: Plan) => lossBased.filter((control) => plan.controls.includes(control));

/** Sets of paths: TCP on one or the other, MPTCP on both. */
const sets = [[0], [1], [0, 1]] as const;

/** Little enough that nothing is left to send soon after a transfer was told to stop. */
const notsentLowatBytes = 64 * 1024;

interface Outcome {
  /** Mean of the plain TCP connections. */
  readonly tcpMbit: number;
  readonly mptcpMbit: number;
  readonly subflows: number;
}

interface Sample {
  /** In the order of the plan's contests. */
  readonly outcomes: readonly Outcome[];
  /** In the order of the sets. */
  readonly pooledMbit: readonly number[];
  readonly pooledSubflows: number;
  readonly ok: boolean;
}

type Places = ReturnType<typeof placesOf>;
const placesOf = ({ contests }: Plan) => ({
  bottlenecks: contests.map((contest, index) => bottleneckPlace(index, contest)),
  pool: poolPlace(sets),
});

const subflows = (one: Transfer) => one.info().subflows.length;

/** Everything at the same time: no place has anything in common with another. */
async function measure(
  lab: Lab,
  plan: Plan,
  { bottlenecks, pool }: Places,
  coupling: Coupling,
  control: Control,
): Promise<Sample> {
  const started: Transfer[] = [];
  const start = async (ends: Ends, protocol: "tcp" | "mptcp") => {
    const congestionControl = protocol === "tcp" ? "reno" : coupling.congestionControl(control);
    const options = { ...ends, protocol, congestionControl, direction: "upload", notsentLowatBytes } as const;
    const transfer = await startTransfer(lab, options);
    started.push(transfer);
    if (protocol === "mptcp") coupling.tell(transfer.info().token, control);
    return transfer;
  };
  try {
    const meetings = await Promise.all(
      bottlenecks.map(async ({ tcp, mptcp, tcps }) => ({
        mptcp: await start(mptcp, "mptcp"),
        tcps: await Promise.all(Array.from({ length: tcps }, () => start(tcp, "tcp"))),
      })),
    );
    const pooled = await Promise.all(
      pool.ends.map((ends, set) => start(ends, sets[set].length === 1 ? "tcp" : "mptcp")),
    );
    await sleep(plan.warmUpMs);
    const read = () => ({
      atMs: performance.now(),
      bytes: new Map(started.map((transfer) => [transfer, transfer.receivedBytes])),
    });
    const before = read();
    await sleep(plan.measureMs);
    const after = read();
    const mbit = (one: Transfer) => megabits(after.bytes.get(one)! - before.bytes.get(one)!, after.atMs - before.atMs);
    const sample = {
      outcomes: meetings.map(({ mptcp, tcps }) => ({
        tcpMbit: mean(tcps.map(mbit)),
        mptcpMbit: mbit(mptcp),
        subflows: subflows(mptcp),
      })),
      pooledMbit: pooled.map(mbit),
      pooledSubflows: subflows(pooled.at(-1)!),
    };
    lab.check();
    const results = await Promise.all(started.map((transfer) => transfer.stop()));
    return { ...sample, ok: results.every(({ ok }) => ok) };
  } finally {
    for (const transfer of started) transfer.abort();
  }
}

/** Of the plan's controls. */
type Samples = Readonly<Record<Control, readonly Sample[]>>;

async function run({ quick: brief, onProgress = () => {} }: ExperimentOptions): Promise<Findings> {
  const plan = brief ? quick : whole;
  const places = placesOf(plan);
  await using lab = await createLab(together([...places.bottlenecks, places.pool]));
  const coupling = new Coupling(lab);
  const samples: Samples = await inTurn(plan.controls, plan.rounds, async (control, round) => {
    const sample = await measure(lab, plan, places, coupling, control);
    const ratios = sample.outcomes.map((outcome) => ratio(outcome).toFixed(2)).join(", ");
    onProgress(`${control}, round ${round + 1} of ${plan.rounds}: MPTCP has ${ratios} of what a TCP has`);
    return sample;
  });
  return findings(plan, samples);
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
/** What the MPTCP connection has, of what a TCP connection beside it has. */
const ratio = ({ tcpMbit, mptcpMbit }: Outcome) => mptcpMbit / tcpMbit;

function figure(plan: Plan, samples: Samples, id: keyof typeof figures): Section {
  const contests = plan.contests.flatMap((contest, index) =>
    (id === "5" ? contest.tcps === 1 : contest.subflows === 2) ? [{ ...contest, index }] : [],
  );
  const varied = (contest: Contest) => (id === "5" ? contest.subflows : contest.tcps);
  const at = (name: Control, index: number) => samples[name].map(({ outcomes }) => outcomes[index]);
  const title =
    id === "5"
      ? "One TCP against MPTCP of several subflows (figure 5)"
      : "MPTCP of two subflows against several TCPs (figure 4)";
  const last = contests.at(-1)!;
  const show = (control: Control) => `${median(at(control, last.index).map(ratio)).toFixed(2)} times`;
  const x = id === "5" ? "subflows of the MPTCP connection" : "TCP connections";
  return {
    id,
    title,
    text: [
      `With ${varied(last)} ${id === "5" ? "subflows" : "TCP connections"} MPTCP has ${show(uncoupled)} what a TCP has, uncoupled; ` +
        `${lossBasedOf(plan)
          .map((control) => `${show(control)} under ${control}`)
          .join(", ")}.`,
      id === "5"
        ? "Uncoupled, every subflow takes a share. Coupled, they grow together no faster than one TCP on the best of their paths " +
          "would: about one share, however many there are, as in the paper. Somewhat less where each has a window of a few " +
          "packets only: then losses cost more."
        : "Uncoupled, two subflows take two of the shares; coupled about one of them, whatever the number of the others.",
      "wVegas yields to queues that others fill: beside TCPs that stop at losses only it gets less than a share while they are " +
        "few. It is fair among its like.",
    ],
    table: {
      columns: [
        { title: x, number: true },
        { title: "control" },
        { title: "a TCP (Mbit/s)", number: true },
        { title: "MPTCP (Mbit/s)", number: true },
        { title: "MPTCP to a TCP", number: true },
        { title: "an equal share", number: true },
      ],
      rows: contests.flatMap((contest) =>
        plan.controls.map((name) => {
          const outcomes = at(name, contest.index);
          return [
            String(varied(contest)),
            name,
            formatSpread(spreadOf(outcomes.map(({ tcpMbit }) => tcpMbit)), 2),
            formatSpread(spreadOf(outcomes.map(({ mptcpMbit }) => mptcpMbit)), 2),
            `${median(outcomes.map(ratio)).toFixed(2)} ×`,
            `${(bottleneck.rateMbit / (contest.tcps + 1)).toFixed(2)} Mbit/s`,
          ];
        }),
      ),
    },
    plot: {
      kind: "bars",
      title,
      x: { label: x },
      y: { label: "MPTCP to a TCP" },
      groups: contests.map((contest) => String(varied(contest))),
      series: plan.controls.map((name) => ({
        name,
        bars: contests.map(({ index }) => spreadOf(at(name, index).map(ratio))),
      })),
    },
  };
}

function pooling(samples: Samples): Section {
  const title = "Two disjoint paths: what MPTCP makes of both";
  const single = (set: number) => Object.values(samples).flatMap((all) => all.map(({ pooledMbit }) => pooledMbit[set]));
  const rows = [
    { name: "TCP on the first", values: single(0) },
    { name: "TCP on the second", values: single(1) },
    ...Object.entries(samples).map(([name, all]) => ({
      name: `MPTCP, ${name}`,
      values: all.map(({ pooledMbit }) => pooledMbit[2]),
    })),
  ];
  return {
    id: "pooling",
    title,
    text: [
      "Coupling by losses gives up nothing that others do not use: on paths of its own a connection has as much as it has " +
        "uncoupled, which is more than the best of them gives to a TCP. wVegas starts gently, and is still growing.",
    ],
    table: {
      columns: [
        { title: "connection" },
        { title: "goodput (Mbit/s)", number: true },
        { title: "to the best single path", number: true },
      ],
      rows: rows.map(({ name, values }) => [
        name,
        formatSpread(spreadOf(values), 2),
        `${(median(values) / median(single(0))).toFixed(2)} ×`,
      ]),
    },
    plot: {
      kind: "bars",
      title,
      x: { label: "connection" },
      y: { label: "goodput", unit: "Mbit/s" },
      groups: rows.map(({ name }) => name),
      series: [{ name: "goodput", bars: rows.map(({ values }) => spreadOf(values)) }],
    },
  };
}

function findings(plan: Plan, samples: Samples): Findings {
  const several = plan.contests.flatMap(({ tcps, subflows }, index) => (tcps === 1 && subflows > 1 ? [index] : []));
  const ratiosOf = (name: Control) =>
    several.map((index) => median(samples[name].map(({ outcomes }) => ratio(outcomes[index]))));
  const everything = Object.values(samples).flat();
  const best = median(everything.map(({ pooledMbit }) => pooledMbit[0]));
  const coupled = lossBasedOf(plan);
  const pooled = coupled.map((name) => median(samples[name].map(({ pooledMbit }) => pooledMbit[2])) / best);
  const uncoupledRatios = ratiosOf(uncoupled);
  return {
    title: "Fairness: MPTCP beside TCP at one bottleneck",
    question:
      "Does a connection of several subflows leave a TCP that shares its bottleneck as much as another TCP would, and does it " +
      "still use disjoint paths to the full?",
    setup: [
      `a router before a link of ${bottleneck.rateMbit} Mbit/s, ${bottleneck.rttMs} ms and a drop-tail queue of ${bottleneck.queueMs} ms; TCP (reno) and MPTCP send through it from hosts of their own`,
      `disjoint: ${disjoint.map(({ rateMbit, rttMs }) => `${rateMbit} Mbit/s at ${rttMs} ms`).join(" and ")}, nobody else on them`,
      `MPTCP's subflows under ${plan.controls.join(", ")}; further subflows join other ports of the same address`,
      `${plan.rounds} rounds, controls in turn, ${plan.measureMs / 1000} s after ${plan.warmUpMs / 1000} s; all contests at the same time, each at a bottleneck of its own; medians, least and greatest`,
    ],
    sections: [...(plan === whole ? [figure(plan, samples, "4")] : []), figure(plan, samples, "5"), pooling(samples)],
    checks: [
      {
        what: "uncoupled, several subflows took more than a TCP",
        ok: median(uncoupledRatios) > 1.2 / plan.slack,
        seen: `${uncoupledRatios.map((value) => value.toFixed(2)).join(", ")} of it`,
      },
      {
        what: "coupled by what they lose, they took less than uncoupled",
        ok: median(coupled.flatMap(ratiosOf)) < median(uncoupledRatios) * plan.slack,
        seen: `${coupled
          .map(
            (control) =>
              `${control} ${ratiosOf(control)
                .map((value) => value.toFixed(2))
                .join(", ")}`,
          )
          .join("; ")} of a TCP`,
      },
      {
        what: "on disjoint paths, they reached what the best single path gives",
        ok: pooled.every((value) => value > 0.9),
        seen: `${Math.min(...pooled).toFixed(2)} of it at least`,
      },
      {
        what: "every connection had its subflows, and every byte arrived",
        ok: everything.every(
          ({ outcomes, ok, pooledSubflows }) =>
            ok && pooledSubflows === 2 && outcomes.every(({ subflows }, i) => subflows === plan.contests[i].subflows),
        ),
        seen: `${everything.filter(({ ok }) => ok).length} of ${everything.length} runs whole`,
      },
    ],
    data: { plan, samples },
  };
}

export const fairness: Experiment = {
  name: "fairness",
  summary: "MPTCP of 1 to 3 subflows beside TCP at one bottleneck, uncoupled and coupled",
  run,
};
