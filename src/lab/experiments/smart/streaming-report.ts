/** What streams over a path that loses packets showed: tables, plots, checks. */
import { median } from "../../measure/programs.ts";
import type { Plot } from "../../report/plot.ts";
import type { TableColumn } from "../../report/report.ts";
import { percentile } from "../../workload/request-response.ts";
import type { Findings } from "../experiment.ts";
import { link } from "./place.ts";
import { blockBytes, sides, type Side, type Stream, type StreamingPlan } from "./streaming-run.ts";

/** By loss, in the order of the plan. */
export type StreamingResults = Readonly<Record<Side, readonly (readonly Stream[])[]>>;

export const sideNames: Readonly<Record<Side, string>> = { kernel: "kernel, fullmesh", controller: "streaming()" };

/** What a block may take, and what it takes where nothing is to be done. */
const [dueMs, inTimeMs] = [1000, 400];

const late = (values: readonly number[]) =>
  percentile(
    values.toSorted((a, b) => a - b),
    95,
  );
const number = (title: string): TableColumn => ({ title, number: true });
const badOf = (streams: readonly Stream[]) => streams.flatMap(({ badMs }) => badMs);
const duePercent = (values: readonly number[]) => (100 * values.filter((ms) => ms < dueMs).length) / values.length;

function rowOf(lossPercent: number, side: Side, streams: readonly Stream[]): string[] {
  const delaysMs = badOf(streams);
  const joins = streams.reduce((sum, { goodJoins, badJoins }) => sum + goodJoins + badJoins, 0);
  return [
    String(lossPercent),
    sideNames[side],
    median(delaysMs).toFixed(0),
    late(delaysMs).toFixed(0),
    Math.max(...delaysMs).toFixed(0),
    duePercent(delaysMs).toFixed(1),
    (joins / streams.length).toFixed(1),
  ];
}

const byLoss = (side: Side) => `Block delays by loss: ${sideNames[side]}`;
const range = (values: readonly number[]) => {
  const [low, high] = [Math.min(...values).toFixed(0), Math.max(...values).toFixed(0)];
  return low === high ? low : `${low} to ${high}`;
};

const columns = [
  number("loss (%)"),
  { title: "who decides" },
  number("median (ms)"),
  number("95th percentile (ms)"),
  number("longest (ms)"),
  number("within 1 s (%)"),
  number("joins, mean"),
];

function cdf(title: string, series: readonly { readonly name: string; readonly values: readonly number[] }[]): Plot {
  return { kind: "cdf", title, of: "blocks", x: { label: "block delay", unit: "ms" }, series };
}

export function findings(plan: StreamingPlan, results: StreamingResults): Findings {
  const { lossPercents, goodBlocks, badBlocks, connections } = plan;
  const everything = sides.flatMap((side) => results[side].flat());
  const of = (side: Side) => results[side].flat();
  /** Loss that both sides are shown at: the paper's figure has 30 %. */
  const shown = Math.max(0, lossPercents.indexOf(30));
  const bySide = `Block delays at ${lossPercents[shown]} % loss (figure 2b)`;
  const seriesOf = (side: Side) =>
    lossPercents.map((percent, i) => ({ name: `${percent} %`, values: badOf(results[side][i]) }));
  const tableOf = (side: Side) => ({
    columns,
    rows: lossPercents.map((percent, i) => rowOf(percent, side, results[side][i])),
  });
  const perLoss = (side: Side, value: (delaysMs: number[]) => number) => results[side].map((one) => value(badOf(one)));
  return {
    title: "Smarter streaming: a subflow more when a block is late, one less when it holds a block up",
    question:
      `An application sends ${blockBytes / 1024} KiB every second and wants them delivered within that second. How late are they when the ` +
      "path of the connection loses packets, and another one that is good is there?",
    setup: [
      `a client with two interfaces (${link.rateMbit} Mbit/s, ${link.rttMs} ms each) sends to a server with one address; the connection opens over the first`,
      `blocks without loss: ${goodBlocks}, then ${badBlocks} while the first path loses ${lossPercents.join(", ")} % of the packets, each way; connections each: ${connections}`,
      "a block's delay: from the write to the arrival of its last byte; a late block does not keep the next one back",
      "kernel: its own path manager, an endpoint with the flags subflow and fullmesh at the second interface",
      "streaming(): looks at a block's progress half-way through the second, and closes what a late block waits for",
      "all losses and sides at the same time, each in a lab of its own",
    ],
    sections: [
      {
        id: "2b",
        title: bySide,
        text: [
          `Of the blocks sent over the lossy path, ${range(perLoss("kernel", duePercent))} % arrive within the second under the kernel, ` +
            `${range(perLoss("controller", duePercent))} % under streaming(); 95 of 100 within ${range(perLoss("kernel", late))} ms ` +
            `and ${range(perLoss("controller", late))} ms.`,
          "The kernel's scheduler keeps giving to the lossy subflow, and what it gave is sent again elsewhere only when that subflow's " +
            "timer is over. A subflow that is closed gives everything back at once: after the first late blocks all goes over the other path.",
        ],
        table: {
          columns,
          rows: lossPercents.flatMap((percent, i) => sides.map((side) => rowOf(percent, side, results[side][i]))),
        },
        plot: cdf(
          bySide,
          sides.map((side) => ({ name: sideNames[side], values: badOf(results[side][shown]) })),
        ),
      },
      {
        id: "2b-controller",
        title: byLoss("controller"),
        text: ["The paper: almost the same delays whatever the loss."],
        table: tableOf("controller"),
        plot: cdf(byLoss("controller"), seriesOf("controller")),
      },
      {
        id: "2b-kernel",
        title: byLoss("kernel"),
        text: [
          "The less the first path loses, the more the scheduler gives it, and the later most blocks are; the more it loses, the longer " +
            "the few wait that were given to it: for a timer that has doubled, as in the paper.",
        ],
        table: tableOf("kernel"),
        plot: cdf(byLoss("kernel"), seriesOf("kernel")),
      },
    ],
    checks: [
      {
        what: "under streaming(), no second subflow was asked for while blocks arrived well before half of their time",
        ok: of("controller").every(({ goodJoins, goodMs }) => goodJoins === 0 || Math.max(...goodMs) > inTimeMs),
        seen: `${of("controller").filter(({ badJoins }) => badJoins > 0).length} of ${of("controller").length} connections asked later`,
      },
      {
        what: "under the kernel, the second subflow was there from the beginning",
        ok: of("kernel").every(({ goodJoins }) => goodJoins === 1),
        seen: `${range(of("kernel").map(({ goodJoins }) => goodJoins))} for each connection`,
      },
      {
        what: "every block arrived, every byte in its place",
        ok: everything.every(({ ok, badMs }) => ok && badMs.length === badBlocks),
        seen: `${everything.reduce((sum, { goodMs, badMs }) => sum + goodMs.length + badMs.length, 0)} blocks of ${everything.length} connections`,
      },
    ],
    data: { plan, results },
  };
}
