/** Does a lab do what it was asked to? Rate, round trip and loss of each link, measured. */
import { setTimeout as sleep } from "node:timers/promises";
import { runUrgently } from "../../linux/scheduling.ts";
import type { Lab } from "../lab.ts";
import { directions, type PlannedLink } from "../plan.ts";
import type { Direction } from "../spec.ts";
import { readLinkCounters } from "./counters.ts";
import { flood } from "./flood.ts";
import { median, ping } from "./ping.ts";
import { runQuiet } from "./steal.ts";

export type AccuracyRow = {
  readonly link: string;
  /** "both" for round trips. */
  readonly direction: Direction | "both";
  readonly quantity: "rate" | "rtt" | "loss";
  readonly unit: "Mbit/s" | "ms" | "%";
  readonly asked: number;
  readonly measured: number;
  /** How far `measured` may be from `asked`, in the same unit. */
  readonly tolerance: number;
  readonly ok: boolean;
  readonly stealPercent: number;
  /** More than one when the hypervisor stole time meanwhile. */
  readonly attempts: number;
};

export type AccuracyOptions = {
  readonly quantities?: readonly AccuracyRow["quantity"][];
  readonly onRow?: (row: AccuracyRow) => void;
  /** Limit of the time for one loss measurement; a shorter one is less certain and gets a wider tolerance. */
  readonly maxLossSeconds?: number;
};

const rateTolerance = 0.02;
const rttToleranceMs = 1;
const lossTolerance = 0.1;

/** Beyond it this process cannot send enough single packets to fill the link. */
const maxRateMbit = 200;

/** Measures every link of an idle lab, rates up to 200 Mbit/s. Takes some seconds per link and quantity. */
export async function measureLab(lab: Lab, options: AccuracyOptions = {}): Promise<AccuracyRow[]> {
  // Other work on the machine shall not pass for the lab's inaccuracy.
  const calmDown = runUrgently();
  try {
    return await measureLinks(lab, options);
  } finally {
    calmDown();
  }
}

async function measureLinks(lab: Lab, options: AccuracyOptions): Promise<AccuracyRow[]> {
  const { quantities = ["rtt", "rate", "loss"], maxLossSeconds = 20 } = options;
  const rows: AccuracyRow[] = [];
  const add = async (
    row: Pick<AccuracyRow, "link" | "direction" | "quantity" | "unit" | "asked" | "tolerance">,
    measure: () => Promise<number>,
  ) => {
    lab.check();
    const { value, stealPercent, attempts } = await runQuiet(measure);
    const complete = {
      ...row,
      measured: value,
      ok: Math.abs(value - row.asked) <= row.tolerance,
      stealPercent,
      attempts,
    };
    rows.push(complete);
    options.onRow?.(complete);
  };
  for (const link of lab.links) {
    const conditions = lab.conditions(link.name);
    if (quantities.includes("rtt")) {
      const asked = conditions.forward.delayMs + conditions.backward.delayMs;
      const { tolerance, ...probe } = rttProbe(conditions.forward.jitterMs + conditions.backward.jitterMs);
      const row = { link: link.name, direction: "both", quantity: "rtt", unit: "ms" } as const;
      await add({ ...row, asked, tolerance }, () => measureRtt(lab, link, probe));
    }
    for (const direction of directions) {
      const { rateMbit, lossPercent, delayMs } = conditions[direction];
      if (quantities.includes("rate") && rateMbit <= maxRateMbit) {
        const row = { link: link.name, direction, quantity: "rate", unit: "Mbit/s" } as const;
        await add({ ...row, asked: rateMbit, tolerance: rateMbit * rateTolerance }, () =>
          measureRate(lab, link, direction, rateMbit),
        );
      }
      if (quantities.includes("loss")) {
        const { packets, packetsPerSecond, tolerance } = lossProbe(lossPercent, rateMbit, maxLossSeconds);
        const row = { link: link.name, direction, quantity: "loss", unit: "%" } as const;
        await add({ ...row, asked: lossPercent, tolerance }, () =>
          measureLoss(lab, link, direction, { packets, packetsPerSecond, delayMs }),
        );
      }
    }
  }
  return rows;
}

/**
 * How many pings tell the median of evenly spread delays within the tolerance, and how far apart they have to be so that none
 * waits for the one before it.
 */
export function rttProbe(jitterMs: number): { count: number; intervalMs: number; tolerance: number } {
  const count = Math.min(401, Math.max(31, Math.ceil((4 * jitterMs) ** 2)));
  const deviation = jitterMs / Math.sqrt(count);
  return {
    count,
    intervalMs: Math.max(jitterMs === 0 ? 40 : 10, 2 * jitterMs),
    tolerance: Math.max(rttToleranceMs, 3 * deviation),
  };
}

async function measureRtt(lab: Lab, link: PlannedLink, probe: { count: number; intervalMs: number }): Promise<number> {
  const [from, to] = link.ends;
  const { rttsMs } = await ping(lab, { from: from.host, to: to.host, link: link.name, ...probe });
  return median(rttsMs);
}

const settleMs = 500;
const shortestWindowMs = 200;
const windows = 11;

/**
 * More is sent than fits, so that the bottleneck is busy all the time; what comes out is counted. The median of short windows:
 * a moment in which the machine stood still makes one window low and the next one high.
 */
async function measureRate(lab: Lab, link: PlannedLink, direction: Direction, rateMbit: number): Promise<number> {
  const frameBytes = 1514;
  const packetsPerSecond = Math.max(20, (1.3 * rateMbit * 1e6) / 8 / frameBytes);
  const windowMs = Math.max(shortestWindowMs, slowWindowMs(rateMbit, frameBytes));
  const packets = Math.ceil((packetsPerSecond * (settleMs + windows * windowMs + 500)) / 1000);
  const flooding = flood(lab, { link, direction, frameBytes, packetsPerSecond, packets });
  const read = () => ({ at: performance.now(), bytes: readLinkCounters(lab)[link.name][direction].sent.bytes });
  await sleep(settleMs);
  const rates: number[] = [];
  for (let before = read(); rates.length < windows;) {
    await sleep(windowMs);
    const after = read();
    rates.push(((after.bytes - before.bytes) * 8) / 1000 / (after.at - before.at));
    before = after;
  }
  await flooding;
  await sleep(lab.conditions(link.name)[direction].queueMs + 50);
  return median(rates);
}

/** On a slow link one packet more or less must not matter. */
function slowWindowMs(rateMbit: number, frameBytes: number): number {
  const packetsPerWindow = 100;
  return (packetsPerWindow * frameBytes * 8) / (rateMbit * 1000);
}

const smallFrameBytes = 64;
/** A host's own packets (neighbour discovery) may be on their way when the counters are read. */
const strayPackets = 2;

/**
 * How many packets tell a loss within a tenth: losses are binomial, so four standard deviations shall be a tenth of the mean.
 * Where the link or the time allows fewer, the tolerance is those four deviations instead.
 */
export function lossProbe(
  lossPercent: number,
  rateMbit: number,
  maxSeconds: number,
): { packets: number; packetsPerSecond: number; tolerance: number } {
  const packetsPerSecond = Math.min(15_000, (0.8 * rateMbit * 1e6) / 8 / smallFrameBytes);
  const p = lossPercent / 100;
  if (p === 0) {
    const packets = Math.ceil(Math.min(5000, packetsPerSecond));
    return { packets, packetsPerSecond, tolerance: (100 * strayPackets) / packets };
  }
  const wanted = Math.ceil((16 * (1 - p)) / (lossTolerance * lossTolerance * p));
  const packets = Math.max(1000, Math.min(wanted, Math.floor(packetsPerSecond * maxSeconds)));
  const deviation = 100 * Math.sqrt((p * (1 - p)) / packets);
  return { packets, packetsPerSecond, tolerance: Math.max(lossTolerance * lossPercent, 4 * deviation) };
}

async function measureLoss(
  lab: Lab,
  link: PlannedLink,
  direction: Direction,
  probe: { packets: number; packetsPerSecond: number; delayMs: number },
): Promise<number> {
  const read = () => {
    const { sent, delivered } = readLinkCounters(lab)[link.name][direction];
    return { sent: sent.packets, delivered: delivered.packets };
  };
  const before = read();
  await flood(lab, { link, direction, frameBytes: smallFrameBytes, ...probe });
  await sleep(2 * probe.delayMs + 200);
  const after = read();
  const sent = after.sent - before.sent;
  return sent === 0 ? NaN : (100 * (sent - (after.delivered - before.delivered))) / sent;
}

/** The rows as a table for people. */
export function formatAccuracy(rows: readonly AccuracyRow[]): string {
  const cells = [
    ["link", "direction", "quantity", "asked", "measured", "allowed", "stolen", ""],
    ...rows.map((row) => [
      row.link,
      row.direction,
      row.quantity,
      `${row.asked} ${row.unit}`,
      `${row.measured.toPrecision(4)} ${row.unit}`,
      `±${row.tolerance.toPrecision(2)}`,
      `${row.stealPercent.toFixed(1)} %`,
      row.ok ? "ok" : "off",
    ]),
  ];
  const widths = cells[0].map((_, column) => Math.max(...cells.map((line) => line[column].length)));
  return cells
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
