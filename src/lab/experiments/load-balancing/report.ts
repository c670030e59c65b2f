/** What transfers over load-balanced paths took, as tables and plots. */
import { median } from "../../measure/programs.ts";
import type { Section } from "../../report/report.ts";
import { spreadOf, type Findings } from "../experiment.ts";
import { delaysMs, pathMbit } from "./place.ts";
import type { Sent } from "./send.ts";
import { sideNames, sides, subflows, type Side } from "./sides.ts";

export interface Plan {
  /** Of the file, millions of bytes. */
  readonly megabytes: number;
  /** Of each side. */
  readonly runs: number;
  /** Transfers at the same time. */
  readonly places: number;
  readonly periodMs: number;
}

export type Results = Record<Side, Sent[]>;

const paths = delaysMs.length;
/** Below this much of the bytes a path was not in use: what retransmissions bring, or subflows that soon went. */
const usedPercent = 2;

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const secondsOf = (all: readonly Sent[]) => all.map(({ seconds }) => seconds);
const usedPaths = ({ pathPercent }: Sent) => pathPercent.filter((percent) => percent >= usedPercent).length;
const share = (all: readonly Sent[], used: number) =>
  (100 * all.filter((sent) => usedPaths(sent) === used).length) / all.length;

/** Headers included, where nothing is sent twice. */
const bytesOnPaths = (plan: Plan, { ndiffports }: Results) =>
  1e6 * plan.megabytes * Math.min(...ndiffports.map(({ carriedPerByte }) => carriedPerByte));
const idealSeconds = (bytes: number, used: number) => (8 * bytes) / (1e6 * pathMbit * used);
/** What the paths carried more than that, in percent of the file. */
const twicePercent = (all: readonly Sent[], { ndiffports }: Results) =>
  100 *
  (mean(all.map(({ carriedPerByte }) => carriedPerByte)) - Math.min(...ndiffports.map((one) => one.carriedPerByte)));

function times(plan: Plan, results: Results): Section {
  const title = "Transfer times over load-balanced paths (figure 2c)";
  const bytes = bytesOnPaths(plan, results);
  const best = idealSeconds(bytes, paths);
  const middle = (side: Side) => median(secondsOf(results[side]));
  const again = (side: Side) => `${twicePercent(results[side], results).toFixed(1)} %`;
  return {
    id: "2c",
    title,
    text: [
      `The file takes ${best.toFixed(1)} s on all four paths, ${idealSeconds(bytes, 3).toFixed(1)} s on three, ${idealSeconds(bytes, 2).toFixed(1)} s on two, ` +
        `${idealSeconds(bytes, 1).toFixed(1)} s on one. ndiffports stays with what the hash gave it: its times lie around these.`,
      `Half of the transfers end within ${middle("ndiffports").toFixed(1)} s with ndiffports, ${middle("at-once").toFixed(1)} s with the paper's rule, ` +
        `${middle("refresh").toFixed(1)} s with refresh.`,
      "Today's kernels answer each closed subflow by sending again what all of them have under way, wanted or not. The paper's " +
        `rule closes one each ${plan.periodMs / 1000} s, and ${again("at-once")} of the file crosses the paths twice. refresh makes the slowest a backup, ` +
        `which stops its data as well, and closes three at a time: ${again("refresh")}.`,
    ],
    table: {
      columns: [
        { title: "controller" },
        ...["median (s)", "least (s)", "greatest (s)", "mean (s)", "sent twice (%)", "subflows in all"].map(
          (column) => ({
            title: column,
            number: true as const,
          }),
        ),
      ],
      rows: sides.map((side) => {
        const all = results[side];
        const { value, low, high } = spreadOf(secondsOf(all));
        return [
          sideNames[side],
          ...[value, low, high, mean(secondsOf(all)), twicePercent(all, results)].map((number) => number.toFixed(1)),
          mean(all.map((sent) => sent.subflows)).toFixed(1),
        ];
      }),
    },
    plot: {
      kind: "cdf",
      title,
      x: { label: "transfer time", unit: "s" },
      series: [
        ...sides.map((side) => ({ name: sideNames[side], values: secondsOf(results[side]) })),
        { name: "four paths, ideally", values: [best] },
        { name: "one path, ideally", values: [idealSeconds(bytes, 1)] },
      ],
    },
  };
}

function inUse(results: Results): Section {
  const title = "Paths in use";
  const counts = Array.from({ length: paths }, (_, i) => paths - i);
  const atATime = (side: Side) => spreadOf(results[side].map(({ busyPaths }) => busyPaths));
  return {
    id: "paths",
    title,
    text: [
      `Of ${subflows} subflows on ${paths} paths two always share one: a quarter of all draws uses each path, more than half of them ` +
        "three. Replaced, the one that shares goes to an idle path sooner or later, one time in four where three are in use.",
      "A path that carried more than a fiftieth of the bytes was in use at some time; data on it at a time is counted twice a second.",
    ],
    table: {
      columns: [
        { title: "controller" },
        ...counts.map((count) => ({ title: `${count} ${count === 1 ? "path" : "paths"} (%)`, number: true as const })),
        { title: "paths at a time, mean", number: true },
      ],
      rows: sides.map((side) => [
        sideNames[side],
        ...counts.map((count) => share(results[side], count).toFixed(0)),
        mean(results[side].map(({ busyPaths }) => busyPaths)).toFixed(2),
      ]),
    },
    plot: {
      kind: "bars",
      title: "Paths that carried data at a time",
      x: { label: "controller" },
      y: { label: "paths" },
      groups: sides.map((side) => sideNames[side]),
      series: [{ name: "paths", bars: sides.map(atATime) }],
    },
  };
}

/** Token buckets are full at first. */
const tolerance = 1.05;

export function findings(plan: Plan, results: Results): Findings {
  const all = sides.flatMap((side) => results[side]);
  const busiest = Math.max(...all.map(({ busiestMbit }) => busiestMbit));
  const left = results.ndiffports;
  const replaced = [...results["at-once"], ...results.refresh].map((sent) => sent.subflows - subflows);
  const atATime = (side: Side) => mean(results[side].map(({ busyPaths }) => busyPaths));
  return {
    title: "Load-balanced paths: subflows left alone, or replaced when they are slow",
    question:
      "Routers spread flows over several paths by a hash that hosts do not know. Does replacing the slowest of a few subflows again " +
      "and again bring all paths into use, and the file sooner to its place?",
    setup: [
      `a client and a server behind two routers that hash addresses and ports over four paths of ${pathMbit} Mbit/s, ${delaysMs.join(", ")} ms each way; both directions of a flow have the same hash`,
      `the client sends ${plan.megabytes.toFixed(0)} million bytes over ${subflows} subflows under cubic; the controllers that replace do so each ${plan.periodMs / 1000} s`,
      "ndiffports stands for the one that kernels of the paper's time had: the path manager of today's takes ports only with addresses it announces",
      `${plan.runs} transfers of each, in turn, ${plan.places} at the same time: each between hosts, routers and paths of its own`,
    ],
    sections: [times(plan, results), inUse(results)],
    checks: [
      {
        what: "every byte arrived",
        ok: all.every(({ ok }) => ok),
        seen: `${all.filter(({ ok }) => ok).length} of ${all.length} transfers whole`,
      },
      {
        what: "no path carried more than its rate",
        ok: busiest < pathMbit * tolerance,
        seen: `${busiest.toFixed(2)} of ${pathMbit} Mbit/s at most`,
      },
      {
        what: "ndiffports kept the subflows it began with",
        ok: left.every((sent) => sent.subflows === subflows),
        seen: `${left.map((sent) => sent.subflows).join(", ")} in all`,
      },
      {
        what: "the others replaced some in each transfer, of few in one at least",
        // Subflows of a short transfer may be spread well from the start.
        ok: plan.runs < 10 ? replaced.some((count) => count > 0) : replaced.every((count) => count > 0),
        seen: `${Math.min(...replaced)} to ${Math.max(...replaced)}`,
      },
      // A few draws may be lucky ones.
      ...(plan.runs < 10
        ? []
        : [
            {
              what: "those that replaced had more paths in use at a time",
              ok: Math.min(atATime("at-once"), atATime("refresh")) > atATime("ndiffports"),
              seen: sides.map((side) => `${sideNames[side]} ${atATime(side).toFixed(2)}`).join(", "),
            },
          ]),
    ],
    data: { plan, results },
  };
}
