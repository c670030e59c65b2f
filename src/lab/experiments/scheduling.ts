/**
 * Use case 4 of the paper (section V, figures 10a and 10b): a scheduler decides rates of subflows each 100 ms, where paths are
 * unlike: one of 20 ms, one of 50 ms.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { createLab, type Lab } from "../lab.ts";
import { readLinkCounters, readMptcpCounters } from "../measure/counters.ts";
import { requestResponse } from "../workload/request-response.ts";
import { megabits, startTransfer } from "../workload/transfer.ts";
import { inTurn, type Experiment, type ExperimentOptions, type Findings } from "./experiment.ts";
import { findings, type Bulk, type Flows, type Plan, type Results } from "./scheduling/report.ts";
import {
  openExecutors,
  pairs,
  schedulingLab,
  sideNames,
  sides,
  withSide,
  type Executors,
  type Side,
} from "./scheduling/sides.ts";

const whole: Plan = {
  bulks: [
    ...[100, 200, 400, 1000].map((bufferKilobytes) => ({ pair: "wide" as const, bufferKilobytes })),
    ...[200, 1000].map((bufferKilobytes) => ({ pair: "thin" as const, bufferKilobytes })),
  ],
  warmUpMs: 1800,
  measureMs: 2000,
  acquaintSeconds: 1.5,
  sizesKilobytes: [500, 1000, 2000],
  flowsPerSize: 3,
  concurrent: [5, 20],
  rounds: 2,
};
const quick: Plan = {
  bulks: [{ pair: "wide", bufferKilobytes: 100 }],
  warmUpMs: 800,
  measureMs: 700,
  acquaintSeconds: 0.3,
  sizesKilobytes: [500],
  flowsPerSize: 1,
  concurrent: [2],
  rounds: 1,
};
/** Of each of many flows. */
const flowBytes = 500_000;

/** Counters of the receiver and the sender that tell why: out of order, and held back by the window. */
function readReasons(lab: Lab, client: string, server: string) {
  const [received, sent] = [readMptcpCounters(lab, client), readMptcpCounters(lab, server)];
  return { outOfOrder: received["OFOQueue"] ?? 0, retransmissions: sent["MPTCPRetrans"] ?? 0 };
}

async function runBulk(
  lab: Lab,
  executors: Executors,
  plan: Plan,
  { pair, bufferKilobytes }: Plan["bulks"][number],
  side: Side,
): Promise<Bulk> {
  const { client, server, fast, slow } = pairs[pair];
  const { value, cost } = await withSide(lab, executors, pairs[pair], side, async (congestionControl) => {
    const transfer = await startTransfer(lab, {
      client,
      server,
      link: fast,
      congestionControl,
      receiveBufferBytes: 1000 * bufferKilobytes,
    });
    try {
      await sleep(plan.warmUpMs);
      const read = () => ({
        atMs: performance.now(),
        bytes: transfer.receivedBytes,
        links: readLinkCounters(lab),
        reasons: readReasons(lab, client, server),
      });
      const before = read();
      const waiting: number[] = [];
      while (performance.now() < before.atMs + plan.measureMs) {
        await sleep(50);
        const { subflows } = transfer.info();
        const its = subflows.find(({ local }) => local.address === lab.link(slow).ends[1].ipv4.split("/")[0]);
        if (its !== undefined) waiting.push(its.tcp.notsentBytes);
      }
      const after = read();
      lab.check();
      const { ok } = await transfer.stop();
      const carried = (link: string) =>
        after.links[link].backward.delivered.bytes - before.links[link].backward.delivered.bytes;
      const bytes = after.bytes - before.bytes;
      return {
        mbit: megabits(bytes, after.atMs - before.atMs),
        slowPercent: (100 * carried(slow)) / (carried(slow) + carried(fast)),
        outOfOrderPerMegabyte: (1e6 * (after.reasons.outOfOrder - before.reasons.outOfOrder)) / bytes,
        retransmissions: after.reasons.retransmissions - before.reasons.retransmissions,
        waitingKilobytes: waiting.reduce((sum, one) => sum + one, 0) / 1000 / Math.max(1, waiting.length),
        ok,
      };
    } finally {
      transfer.abort();
    }
  });
  return { ...value, ...(cost && { cost }) };
}

/** Short flows one after the other, or all at the same time, where the slow path is thin. */
async function runFlows(
  lab: Lab,
  executors: Executors,
  plan: Plan,
  responseBytes: number,
  count: number,
  concurrency: number,
  side: Side,
): Promise<Flows> {
  const { client, server, fast } = pairs.thin;
  const { value } = await withSide(
    lab,
    executors,
    pairs.thin,
    side,
    (congestionControl) =>
      requestResponse(lab, { client, server, link: fast, congestionControl, responseBytes, count, concurrency }),
    plan.acquaintSeconds,
  );
  const { flows, ok, medianMs } = value;
  const meanMs = flows.reduce((sum, { completionMs }) => sum + completionMs, 0) / flows.length;
  return { medianMs, mbitEach: megabits(responseBytes, meanMs), ok };
}

async function run({ quick: brief, onProgress = () => {} }: ExperimentOptions): Promise<Findings> {
  const plan = brief ? quick : whole;
  await using lab = await createLab(schedulingLab);
  const executors = openExecutors(lab);
  const sweep = async <Value, T>(
    values: readonly Value[],
    say: (value: Value, result: T) => string,
    measure: (value: Value, side: Side) => Promise<T>,
  ) => {
    const results: Readonly<Record<Side, readonly T[]>>[] = [];
    for (const value of values) {
      results.push(
        await inTurn(sides, plan.rounds, async (side, round) => {
          const result = await measure(value, side);
          onProgress(`${say(value, result)}, ${sideNames[side]}, round ${round + 1} of ${plan.rounds}`);
          return result;
        }),
      );
    }
    return results;
  };
  const results: Results = {
    bulks: await sweep(
      plan.bulks,
      ({ pair, bufferKilobytes }, { mbit }: Bulk) =>
        `${pairs[pair].mbit.join(" and ")} Mbit/s, buffer ${bufferKilobytes} kB: ${mbit.toFixed(1)} Mbit/s`,
      (bulk, side) => runBulk(lab, executors, plan, bulk, side),
    ),
    sizes: await sweep(
      plan.sizesKilobytes,
      (kilobytes, { medianMs }: Flows) => `flows of ${kilobytes} kB: ${medianMs.toFixed(0)} ms`,
      (kilobytes, side) => runFlows(lab, executors, plan, 1000 * kilobytes, plan.flowsPerSize, 1, side),
    ),
    many: await sweep(
      plan.concurrent,
      (count, { mbitEach }: Flows) => `${count} flows at once: ${mbitEach.toFixed(2)} Mbit/s each`,
      (count, side) => runFlows(lab, executors, plan, flowBytes, 2 * count, count, side),
    ),
  };
  return findings(plan, results, flowBytes);
}

export const scheduling: Experiment = {
  name: "scheduling",
  summary: "rates of subflows on unlike paths, decided each 100 ms as ECF would",
  run,
};
