/** What the scheduler was worth: tables, plots and checks. */
import { median } from "../../measure/programs.ts";
import type { Section } from "../../report/report.ts";
import { changePercent, formatChange, formatSpread, spreadOf, type Findings } from "../experiment.ts";
import type { ControllerCost } from "./controller.ts";
import { pairs, rttMs, sideNames, sides, type Side } from "./sides.ts";

export interface Plan {
  readonly bulks: readonly { readonly pair: keyof typeof pairs; readonly bufferKilobytes: number }[];
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** How long a scheduler sees the paths at work before it decides about short flows. */
  readonly acquaintSeconds: number;
  readonly sizesKilobytes: readonly number[];
  readonly flowsPerSize: number;
  readonly concurrent: readonly number[];
  readonly rounds: number;
}

/** A bulk transfer. */
export interface Bulk {
  readonly mbit: number;
  /** Of the bytes on the links, in percent. */
  readonly slowPercent: number;
  /** Segments that the receiver had to keep until others had come. */
  readonly outOfOrderPerMegabyte: number;
  /** Of data on another path than before. */
  readonly retransmissions: number;
  /** Given to the slow subflow and not sent yet, on average. */
  readonly waitingKilobytes: number;
  readonly cost?: ControllerCost;
  readonly ok: boolean;
}

/** Finite flows. */
export interface Flows {
  readonly medianMs: number;
  /** A flow's size by the mean of their completion times. */
  readonly mbitEach: number;
  readonly ok: boolean;
}

type BySide<T> = Readonly<Record<Side, readonly T[]>>;

export interface Results {
  readonly bulks: readonly BySide<Bulk>[];
  readonly sizes: readonly BySide<Flows>[];
  readonly many: readonly BySide<Flows>[];
}

const scheduled = sides.filter((side) => side !== "default");
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Change against the kernel alone. */
function gain<T>(result: BySide<T>, side: Side, of: (one: T) => number): number {
  return changePercent(result.default.map(of), result[side].map(of));
}

/** One row per setting: a column per side, then what each of ours changes. */
function comparison<T>(
  { id, title, label, unit, digits }: Record<"id" | "title" | "label" | "unit", string> & { readonly digits: number },
  settings: readonly string[],
  results: readonly BySide<T>[],
  of: (one: T) => number,
  text: readonly string[],
): Section {
  return {
    id,
    title,
    text,
    table: {
      columns: [
        { title: label },
        ...sides.map((side) => ({ title: `${sideNames[side]} (${unit})`, number: true as const })),
        ...scheduled.map((side) => ({ title: `change, ${side}`, number: true as const })),
      ],
      rows: results.map((result, i) => [
        settings[i],
        ...sides.map((side) => formatSpread(spreadOf(result[side].map(of)), digits)),
        ...scheduled.map((side) => formatChange(gain(result, side, of))),
      ]),
    },
    plot: {
      kind: "bars",
      title,
      x: { label },
      y: { label: unit === "ms" ? "completion time" : "throughput", unit },
      groups: [...settings],
      series: sides.map((side) => ({
        name: sideNames[side],
        bars: results.map((result) => spreadOf(result[side].map(of))),
      })),
    },
  };
}

const mbit = ({ mbit: value }: Bulk) => value;
const gainsOf = <T>(results: readonly BySide<T>[], of: (one: T) => number) =>
  results.map((result) => Math.max(...scheduled.map((side) => gain(result, side, of))));

function single(plan: Plan, { bulks }: Results): Section {
  const settings = plan.bulks.map(
    ({ pair, bufferKilobytes }) => `${pairs[pair].mbit.join("+")}, ${bufferKilobytes} kB`,
  );
  const gains = gainsOf(bulks, mbit);
  return comparison(
    {
      id: "10a",
      title: "Throughput of one flow (figure 10a)",
      label: "paths (Mbit/s), receive buffer",
      unit: "Mbit/s",
      digits: 1,
    },
    settings,
    bulks,
    mbit,
    [
      `The better of the two variants changes the throughput by ${formatChange(mean(gains))} on average, by ` +
        `${formatChange(Math.max(...gains))} at most and ${formatChange(Math.min(...gains))} at least; the paper gains 30.9 % on ` +
        "average, 41.6 % at most.",
      "The kernel gives a burst of 64 KiB to the subflow that would send off its queue first, by its pacing rate. That rate " +
        "follows the congestion window, which nothing corrects while the connection's window, not the path, holds the sender " +
        "back; and the path's delay does not count. So the slow subflow gets bursts that arrive long after what follows them on the " +
        "fast one. Where the receiver has little room, or the burst takes long, the fast path stands still meanwhile.",
      "Where there is room for all that is under way on both paths nothing is lost, and the rates cost what the scheduler keeps " +
        "back of the slow path.",
    ],
  );
}

const at = (result: BySide<Bulk>, side: Side, of: (one: Bulk) => number) => median(result[side].map(of));

function reasons(plan: Plan, { bulks }: Results): Section {
  const title = "Share of the slow path";
  const settings = plan.bulks.map(
    ({ pair, bufferKilobytes }) => `${pairs[pair].mbit.join("+")}, ${bufferKilobytes} kB`,
  );
  return {
    id: "10a-reasons",
    title,
    text: [
      "What is out of order waits at the receiver (MPTcpExtOFOQueue) and takes room from the window; what waits in front of the " +
        "slow path (its subflow's unsent bytes) makes it longer than its round trip says. Rate 0 is executed as a backup " +
        "(MP_PRIO): an idle subflow gets its burst however slowly it is paced, and a burst at Listing 5's 1024 bytes per second " +
        "would be there in a minute.",
    ],
    table: {
      columns: [
        { title: "paths (Mbit/s), receive buffer" },
        { title: "scheduler" },
        { title: "share of the slow path", number: true },
        { title: "out of order (segments per MB)", number: true },
        { title: "waiting at the slow subflow (kB)", number: true },
        { title: "sent again on another path", number: true },
        { title: "time per decision (ms)", number: true },
      ],
      rows: bulks.flatMap((result, i) =>
        sides.map((side) => [
          settings[i],
          sideNames[side],
          `${at(result, side, (one) => one.slowPercent).toFixed(1)} %`,
          at(result, side, (one) => one.outOfOrderPerMegabyte).toFixed(0),
          at(result, side, (one) => one.waitingKilobytes).toFixed(1),
          at(result, side, (one) => one.retransmissions).toFixed(0),
          side === "default" ? "" : at(result, side, (one) => one.cost?.msPerDecision ?? 0).toFixed(1),
        ]),
      ),
    },
    plot: {
      kind: "bars",
      title,
      x: { label: "paths (Mbit/s), receive buffer" },
      y: { label: "of the bytes", unit: "%" },
      groups: settings,
      series: sides.map((side) => ({
        name: sideNames[side],
        bars: bulks.map((result) => spreadOf(result[side].map((one) => one.slowPercent))),
      })),
    },
  };
}

const okOf = <T extends { readonly ok: boolean }>(all: readonly BySide<T>[]) =>
  all.flatMap((result) => sides.flatMap((side) => result[side].map(({ ok }) => ok)));

export function findings(plan: Plan, results: Results, flowBytes: number): Findings {
  const thin = pairs.thin.mbit.join(" and ");
  const sizeGains = gainsOf(results.sizes, ({ mbitEach }) => mbitEach);
  const manyGains = gainsOf(results.many, ({ mbitEach }) => mbitEach);
  const tight = results.bulks[0];
  const slowShare = (side: Side) => median(tight[side].map(({ slowPercent }) => slowPercent));
  const whole = [...okOf(results.bulks), ...okOf(results.sizes), ...okOf(results.many)];
  return {
    title: "Traffic scheduling: rates of subflows on unlike paths",
    question:
      "What is a scheduler worth that sees srtt, delivery and what is queued of every connection each 100 ms, and decides how " +
      "much each subflow may send (Listing 5)?",
    setup: [
      `paths of ${rttMs.join(" and ")} ms: ${Object.values(pairs)
        .map(({ mbit: both }) => `${both.join(" and ")} Mbit/s`)
        .join(", or ")}; the server sends, cubic`,
      "scheduler: a loop in user space; if rtt_fast + k/rate_fast < rtt_slow + burst/rate_slow, the slow path is left out, else it gets 85 % of what it carries; k is what may be sent: queued, and within the receiver's window",
      "rates by rate_limit on a set of subflows (paced where they end), or by strategy rate of the actor in the stack; rate 0 by MP_PRIO, where no connection wants the path",
      `one flow: ${plan.measureMs / 1000} s of a transfer after ${plan.warmUpMs / 1000} s, by receive buffer; finite flows: over ${thin} Mbit/s, ${plan.flowsPerSize} of each size; many: twice as many flows of ${flowBytes / 1000} kB as there are at once`,
      `${plan.rounds} rounds, sides in turn; medians, least and greatest`,
    ],
    sections: [
      single(plan, results),
      reasons(plan, results),
      comparison(
        { id: "10a-finite", title: "Completion of finite flows", label: "flow (kB)", unit: "ms", digits: 0 },
        plan.sizesKilobytes.map(String),
        results.sizes,
        ({ medianMs }) => medianMs,
        [
          `Throughput of the flows changes by ${formatChange(mean(sizeGains))} on average. The last burst given to a path of ` +
            `${pairs.thin.mbit[1]} Mbit/s arrives a quarter of a second after it was given; the flow waits for it.`,
        ],
      ),
      comparison(
        {
          id: "10b",
          title: "Average throughput of many flows (figure 10b)",
          label: "flows at once",
          unit: "Mbit/s",
          digits: 2,
        },
        plan.concurrent.map(String),
        results.many,
        ({ mbitEach }) => mbitEach,
        [
          `The better variant changes a flow's average throughput by ${formatChange(mean(manyGains))} on average; the paper gains 16.8 %. ` +
            "Of many flows some always have data for a path while others wait: the more there are, the less is lost by waiting.",
        ],
      ),
    ],
    checks: [
      {
        what: "with little room at the receiver, the slow path was used less",
        ok: scheduled.every((side) => slowShare(side) < slowShare("default")),
        seen: sides.map((side) => `${side} ${slowShare(side).toFixed(1)} %`).join(", "),
      },
      {
        what: "and the flow was faster",
        ok: scheduled.every((side) => gain(tight, side, mbit) > 0),
        seen: scheduled.map((side) => `${side} ${formatChange(gain(tight, side, mbit))}`).join(", "),
      },
      {
        what: "every byte arrived",
        ok: !whole.includes(false),
        seen: `${whole.filter(Boolean).length} of ${whole.length} runs whole`,
      },
    ],
    data: { plan, results },
  };
}
