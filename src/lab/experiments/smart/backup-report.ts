/** What uploads over a path that goes bad showed: tables, plots, checks. */
import { median } from "../../measure/programs.ts";
import type { SeenSegment } from "../../measure/segments.ts";
import type { Plot } from "../../report/plot.ts";
import type { Section, TableColumn } from "../../report/report.ts";
import { formatSpread, spreadOf, type Findings } from "../experiment.ts";
import { sides, thresholdsMs, type BackupPlan, type BackupRun, type Side } from "./backup-run.ts";
import { first, link, second } from "./place.ts";

export type BackupResults = Readonly<Record<Side, readonly BackupRun[]>>;

export interface BackupSummary {
  /** What the application at the other end got while the path was bad. */
  readonly deliveredBytes: number;
  /** The longest time without anything. */
  readonly stallMs: number;
  /** From the beginning of the loss to the first data over the backup; undefined when there was none. */
  readonly toBackupMs?: number;
  /** Over the backup before that, both ways. */
  readonly early: { readonly segments: number; readonly bytes: number };
  /** Segments on the first path, well after that, with data that no segment had carried: not what is only sent again. */
  readonly freshSegments: number;
  readonly ok: boolean;
}

const isData = ({ direction, data }: SeenSegment) => direction === "egress" && data !== undefined;

/** Bytes from 0 on that segments have carried, whichever way they went. */
export function carriedBytes(segments: readonly SeenSegment[]): number {
  const carried = segments.flatMap(({ direction, data }) => (direction === "egress" && data ? [data] : []));
  let end = 0;
  for (const { offset, length } of carried.sort((a, b) => a.offset - b.offset))
    if (offset <= end) end = Math.max(end, offset + length);
  return end;
}

/** What waited for its turn on the first interface leaves when its subflow is closed already. */
const leavingMs = 1000;

/** TCP sends again what a closed subflow has not brought over, for as long as its timers allow. */
function freshOnFirst(segments: readonly SeenSegment[], fromMs: number): number {
  let [end, count] = [0, 0];
  for (const { link: name, direction, data, timeMs } of segments) {
    if (direction !== "egress" || !data) continue;
    if (name === first && timeMs > fromMs + leavingMs && data.offset >= end) count++;
    end = Math.max(end, data.offset + data.length);
  }
  return count;
}

export function summarize({ afterMs }: Pick<BackupPlan, "afterMs">, run: BackupRun): BackupSummary {
  const { lossAtMs, segments, arrivals, ok } = run;
  const endMs = lossAtMs + afterMs;
  const at = (timeMs: number) => arrivals.findLast(({ atMs }) => atMs <= timeMs)?.bytes ?? 0;
  const times = [lossAtMs, ...arrivals.map(({ atMs }) => atMs).filter((ms) => ms > lossAtMs && ms < endMs), endMs];
  const over = segments.filter((one) => one.link === second);
  const moved = over.find((one) => isData(one));
  const early = over.slice(0, moved && over.indexOf(moved));
  return {
    deliveredBytes: at(endMs) - at(lossAtMs),
    stallMs: Math.max(...times.slice(1).map((ms, i) => ms - times[i])),
    ...(moved && { toBackupMs: moved.timeMs - lossAtMs }),
    early: { segments: early.length, bytes: early.reduce((sum, { bytes }) => sum + bytes, 0) },
    freshSegments: moved ? freshOnFirst(segments, moved.timeMs) : 0,
    ok,
  };
}

export const sideNames = Object.fromEntries(
  sides.map((side) => {
    const thresholdMs = thresholdsMs[side];
    return [side, thresholdMs === undefined ? "kernel, backup endpoint" : `backup({ thresholdMs: ${thresholdMs} })`];
  }),
) as Readonly<Record<Side, string>>;

const titleOf = (side: Side) => `Data sequence by interface: ${sideNames[side]}`;
const number = (title: string): TableColumn => ({ title, number: true });
const seconds = (ms: number) => ms / 1000;

/** Which of the runs delivered as much as the median one. */
function typical(summaries: readonly BackupSummary[]): number {
  const order = summaries.map(({ deliveredBytes }, i) => ({ deliveredBytes, i }));
  return order.sort((a, b) => a.deliveredBytes - b.deliveredBytes)[Math.floor((order.length - 1) / 2)].i;
}

/** Times are told as if the first path had gone bad exactly when it was to. */
function sequencePlot(title: string, { beforeMs, afterMs }: BackupPlan, { lossAtMs, segments }: BackupRun): Plot {
  const shown = segments.filter(({ timeMs }) => timeMs < lossAtMs + afterMs);
  const pointsOf = (interfaceName: string) =>
    shown.flatMap(({ link: name, direction, timeMs, data }) =>
      name === interfaceName && direction === "egress" && data
        ? [{ x: Math.round(timeMs - lossAtMs + beforeMs) / 1000, y: (data.offset + data.length) / 1e6 }]
        : [],
    );
  return {
    kind: "points",
    title,
    x: { label: "time", unit: "s" },
    y: { label: "data sequence number", unit: "MB" },
    series: [
      { name: "first interface", points: pointsOf(first) },
      { name: "second interface", points: pointsOf(second) },
    ],
  };
}

export function findings(plan: BackupPlan, results: BackupResults): Findings {
  const summaries = Object.fromEntries(
    sides.map((side) => [side, results[side].map((run) => summarize(plan, run))]),
  ) as Record<Side, BackupSummary[]>;
  const spread = (side: Side, value: (summary: BackupSummary) => number | undefined, digits = 1) => {
    const values = summaries[side].map(value).filter((one): one is number => one !== undefined);
    return values.length > 0 ? formatSpread(spreadOf(values), digits) : "never";
  };
  const delivered = (side: Side) => median(summaries[side].map(({ deliveredBytes }) => deliveredBytes));
  const table = {
    columns: [
      { title: "who decides" },
      number("delivered (MB)"),
      number("longest stall (s)"),
      number("data over the backup after (s)"),
      number("segments there before"),
      number("bytes there before"),
    ],
    rows: sides.map((side) => [
      sideNames[side],
      spread(side, ({ deliveredBytes }) => deliveredBytes / 1e6),
      spread(side, ({ stallMs }) => seconds(stallMs)),
      spread(side, ({ toBackupMs }) => toBackupMs && seconds(toBackupMs)),
      spread(side, ({ early }) => early.segments, 0),
      spread(side, ({ early }) => early.bytes, 0),
    ]),
  };
  const runTable = (side: Side) => ({
    columns: [
      number("run"),
      number("delivered (MB)"),
      number("longest stall (s)"),
      number("data over the backup after (s)"),
    ],
    rows: summaries[side].map(({ deliveredBytes, stallMs, toBackupMs }, i) => [
      String(i + 1),
      (deliveredBytes / 1e6).toFixed(1),
      seconds(stallMs).toFixed(1),
      toBackupMs === undefined ? "never" : seconds(toBackupMs).toFixed(1),
    ]),
  });
  const ratio = (side: Side) => (delivered(side) / delivered("kernel")).toFixed(1);
  const drawn = (side: Side): Plot => sequencePlot(titleOf(side), plan, results[side][typical(summaries[side])]);
  const section = (side: Side, id: string, text: string[]): Section => ({
    id,
    title: titleOf(side),
    text: [...text, "The plot shows the run that delivered the median; a segment sent again appears again."],
    table: runTable(side),
    plot: drawn(side),
  });
  const controlled = sides.filter((side) => side !== "kernel").flatMap((side) => summaries[side]);
  const everything = sides.flatMap((side) => summaries[side]);
  const holes = sides.flatMap((side) => results[side]).filter((run) => carriedBytes(run.segments) !== run.sentBytes);
  return {
    title: "Smarter backup: break before make when a timer grows too long",
    question:
      "A path does not fail, it goes bad. When does an upload leave it for the backup interface, what does it lose until then, " +
      "and what does it cost to keep the backup ready?",
    setup: [
      `a client with two interfaces (${link.rateMbit} Mbit/s, ${link.rttMs} ms each) uploads to a server with one address; the connection opens over the first`,
      `after ${plan.beforeMs / 1000} s the first path loses ${plan.lossPercent} % of the packets, each way, for ${plan.afterMs / 1000} s`,
      "kernel: its own path manager, an endpoint with the flags subflow and backup at the second interface",
      "backup(): nothing there until a retransmission timer passes the threshold; then a subflow, and the first one is closed",
      `rounds: ${plan.rounds}, all sides at the same time, each in a lab of its own`,
    ],
    sections: [
      {
        ...section("patient", "2a", [
          `In ${plan.afterMs / 1000} s, with a threshold of 1 s as in the paper, ${ratio("patient")} times as much arrived as with the kernel alone; ` +
            `with 500 ms ${ratio("eager")} times as much.`,
          "What comes before the move is chance: the timer doubles only when several segments in a row are lost.",
        ]),
        table,
      },
      section("eager", "2a-eager", [
        "A lower threshold leaves sooner, and sooner than it need be when the path was bad for a moment only.",
      ]),
      section("kernel", "2a-kernel", [
        "The paper's kernel stayed on the bad path for 12 minutes, until TCP gave up. Today's takes the backup within a second or two, " +
          "but comes back with each acknowledgement on the first path; and what it gave that path and the path lost is sent over the " +
          "backup only when that path's timer, doubled again and again, is over. Until then nothing arrives: the long stalls.",
      ]),
    ],
    checks: [
      {
        what: "under backup() with a threshold of 1 s, nothing passed the second interface while the first path was good",
        ok: results.patient.every(({ lossAtMs, segments }) =>
          segments.every(({ link: name, timeMs }) => name !== second || timeMs >= lossAtMs),
        ),
        seen: `the kernel sent and received ${spread("kernel", ({ early }) => early.segments, 0)} segments there`,
      },
      {
        what: "under backup(), nothing new went over the first interface after the move",
        ok: controlled.every(({ freshSegments }) => freshSegments === 0),
        seen: `${controlled.filter(({ toBackupMs }) => toBackupMs !== undefined).length} of ${controlled.length} uploads moved`,
      },
      {
        what: "the captured segments carried every byte that was written",
        ok: holes.length === 0,
        seen: `${everything.length - holes.length} of ${everything.length} uploads without a hole`,
      },
      {
        what: "every byte arrived",
        ok: everything.every(({ ok }) => ok),
        seen: `${everything.filter(({ ok }) => ok).length} of ${everything.length} uploads whole`,
      },
    ],
    data: { plan, summaries },
  };
}
