/** Figures 5b to 5d: what chains cost real flows, by the kernel's own account of their run time. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { PolicyChain, SelectorChain } from "../../../chain/index.ts";
import { enableRunStatistics } from "../../../linux/index.ts";
import type { Lab } from "../../lab.ts";
import { parseCpuTicks } from "../../measure/steal.ts";
import { runManyFlows, type AnswerServer } from "../../workload/many-flows.ts";
import { megabits, startTransfer } from "../../workload/transfer.ts";
import { actorChain, addressesOf, runTotals, type Addresses, type Side } from "./chains.ts";

/** Bytes of each flow's answer. */
export const flowBytes = 20_000;

export interface FlowCost {
  /** Mean over the flows. */
  readonly completionMs: number;
  /** Run time of the chain for a flow's packets as a share of the flow's completion time, mean over the flows. */
  readonly sharePercent: number;
  readonly nsPerPacket: number;
  readonly packetsPerFlow: number;
  /** Share of the packets seen that the selectors picked; 0 without a chain. */
  readonly selectedPercent: number;
}

/** Runs `count` flows at the same time, `batches` times, over a side's link. */
export async function costOfFlows(
  lab: Lab,
  server: AnswerServer,
  side: Side,
  count: number,
  batches: number,
): Promise<FlowCost> {
  const address = addressesOf(lab, side.link).remote;
  const statistics = enableRunStatistics();
  try {
    const before = { ...runTotals(side.programs), ...side.running?.counters() };
    let completionMs = 0;
    for (let batch = 0; batch < batches; batch++) {
      const options = { client: "client", address, port: server.port, count, responseBytes: flowBytes };
      const flows = await runManyFlows(lab, options);
      completionMs += flows.completionMs.reduce((sum, one) => sum + one, 0);
    }
    const after = { ...runTotals(side.programs), ...side.running?.counters() };
    const [ns, packets, flows] = [after.ns - before.ns, after.packets - before.packets, count * batches];
    const [seen, matched] = [(after.seen ?? 0) - (before.seen ?? 0), (after.matched ?? 0) - (before.matched ?? 0)];
    return {
      completionMs: completionMs / flows,
      sharePercent: (100 * ns) / 1e6 / completionMs,
      nsPerPacket: packets === 0 ? 0 : ns / packets,
      packetsPerFlow: packets / flows,
      selectedPercent: seen === 0 ? 0 : (100 * matched) / seen,
    };
  } finally {
    statistics.close();
  }
}

const everything = () => new SelectorChain();

/** Selections from all packets to none, each with the three actors of a chain of length 4; the paper's figure 5c. */
export function granularities(port: number, addresses: Addresses): Readonly<Record<string, PolicyChain>> {
  const selections = {
    "every packet": everything(),
    "one pair of hosts": everything().select("ip_pair", addresses),
    "one server port": everything().select("port", { port, side: "remote" }),
    "packets with data": everything().select("packet_type", { type: "data" }),
    SYNs: everything().select("packet_type", { type: "mptcp_syn" }),
    "another host": everything().select("src", { prefix: "192.0.2.1" }),
  };
  return Object.fromEntries(
    Object.entries(selections).map(([name, selectors]) => [name, new PolicyChain(selectors, actorChain(3))]),
  );
}

export interface CpuCost {
  readonly mbit: number;
  /** Of all processors, everything that runs on the machine. */
  readonly busyPercent: number;
  /** Of all processors, the chain's programs by the kernel's account. */
  readonly chainPercent: number;
}

/** A transfer over a side's rate-limited link for `ms`: the work is the same for every side, only the chain differs. */
export async function costOfTransfer(lab: Lab, side: Side, ms: number): Promise<CpuCost> {
  // Not while the processors are watched without a chain: taking the time costs time too.
  const statistics = side.running && enableRunStatistics();
  const transfer = await startTransfer(lab, { link: side.link });
  try {
    await sleep(500);
    const [before, ticks, atMs] = [runTotals(side.programs), readCpu(), performance.now()];
    const bytes = transfer.receivedBytes;
    await sleep(ms);
    const [after, now, elapsedMs] = [runTotals(side.programs), readCpu(), performance.now() - atMs];
    return {
      mbit: megabits(transfer.receivedBytes - bytes, elapsedMs),
      busyPercent: 100 * (1 - (now.idle - ticks.idle) / (now.total - ticks.total)),
      chainPercent: (100 * (after.ns - before.ns)) / 1e6 / elapsedMs / processors(),
    };
  } finally {
    transfer.abort();
    statistics?.close();
  }
}

function readCpu(): { readonly total: number; readonly idle: number } {
  const stat = readFileSync("/proc/stat", "utf8");
  // user, nice, system, idle, iowait, …
  const fields = (/^cpu\s+(.*)$/m.exec(stat)?.[1] ?? "").split(" ").map(Number);
  return { total: parseCpuTicks(stat).total, idle: fields[3] + fields[4] };
}

const processors = () => (readFileSync("/proc/stat", "utf8").match(/^cpu\d/gm) ?? []).length;
