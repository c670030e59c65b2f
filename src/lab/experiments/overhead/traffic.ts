/** Figures 5b to 5d: what chains cost real flows, by the kernel's own account of their run time. */
import { setTimeout as sleep } from "node:timers/promises";
import { PolicyChain, SelectorChain } from "../../../chain/index.ts";
import { enableRunStatistics } from "../../../linux/index.ts";
import type { Lab } from "../../lab.ts";
import { parseCpuTicks } from "../../measure/steal.ts";
import { runManyFlows, type AnswerServer } from "../../workload/many-flows.ts";
import { megabits, startTransfer } from "../../workload/transfer.ts";
import { attachChain } from "../experiment.ts";
import { readFileSync } from "node:fs";
import { actorChain, programsOf, runTotals } from "./chains.ts";

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

/** Runs `count` flows at the same time, `batches` times, through a chain on both directions of the client's interface. */
export async function costOfFlows(
  lab: Lab,
  server: AnswerServer,
  chain: PolicyChain | undefined,
  count: number,
  batches: number,
): Promise<FlowCost> {
  const attached = chain && attachChain(lab, "client", "cost", chain.with({ direction: "both" }), ["flows"]);
  const programs = attached ? programsOf(attached.running) : [];
  const statistics = enableRunStatistics();
  try {
    const before = runTotals(programs);
    let completionMs = 0;
    for (let batch = 0; batch < batches; batch++) {
      const flows = await runManyFlows(lab, {
        client: "client",
        address: "10.0.1.2",
        port: server.port,
        count,
        responseBytes: flowBytes,
      });
      completionMs += flows.completionMs.reduce((sum, one) => sum + one, 0);
    }
    const after = runTotals(programs);
    const [ns, packets, flows] = [after.ns - before.ns, after.packets - before.packets, count * batches];
    const counters = attached?.running.counters();
    return {
      completionMs: completionMs / flows,
      sharePercent: (100 * ns) / 1e6 / completionMs,
      nsPerPacket: packets === 0 ? 0 : ns / packets,
      packetsPerFlow: packets / flows,
      selectedPercent: counters === undefined ? 0 : (100 * counters.matched) / counters.seen,
    };
  } finally {
    statistics.close();
    for (const program of programs) program.close();
    attached?.detach();
  }
}

/** Selections from all packets to few, each with the three actors of a chain of length 4; the paper's figure 5c. */
export const granularities: readonly { readonly name: string; readonly chain: (port: number) => PolicyChain }[] = [
  { name: "every packet", chain: () => chainOn(new SelectorChain()) },
  {
    name: "one pair of hosts",
    chain: () => chainOn(new SelectorChain().select("ip_pair", { local: "10.0.1.1", remote: "10.0.1.2" })),
  },
  { name: "one server port", chain: (port) => chainOn(new SelectorChain().select("port", { port, side: "remote" })) },
  { name: "packets with data", chain: () => chainOn(new SelectorChain().select("packet_type", { type: "data" })) },
  { name: "SYNs", chain: () => chainOn(new SelectorChain().select("packet_type", { type: "mptcp_syn" })) },
  { name: "another host", chain: () => chainOn(new SelectorChain().select("src", { prefix: "192.0.2.1" })) },
];

function chainOn(selectors: SelectorChain): PolicyChain {
  return new PolicyChain(selectors, actorChain(3));
}

export interface CpuCost {
  readonly mbit: number;
  /** Of all processors, everything that runs on the machine. */
  readonly busyPercent: number;
  /** Of all processors, the chain's programs by the kernel's account. */
  readonly chainPercent: number;
}

/** A transfer over the rate-limited link for `ms`, through a chain or none: the work is the same, only the chain differs. */
export async function costOfTransfer(lab: Lab, chain: PolicyChain | undefined, ms: number): Promise<CpuCost> {
  const attached = chain && attachChain(lab, "client", "cpu", chain.with({ direction: "both" }), ["limited"]);
  const programs = attached ? programsOf(attached.running) : [];
  // Not while the processors are watched without a chain: taking the time costs time too.
  const statistics = chain && enableRunStatistics();
  const transfer = await startTransfer(lab, { link: "limited" });
  try {
    await sleep(500);
    const [before, ticks, atMs, bytes] = [runTotals(programs), readCpu(), performance.now(), transfer.receivedBytes];
    await sleep(ms);
    const [after, now, elapsedMs] = [runTotals(programs), readCpu(), performance.now() - atMs];
    return {
      mbit: megabits(transfer.receivedBytes - bytes, elapsedMs),
      busyPercent: 100 * (1 - (now.idle - ticks.idle) / (now.total - ticks.total)),
      chainPercent: (100 * (after.ns - before.ns)) / 1e6 / elapsedMs / processors(),
    };
  } finally {
    transfer.abort();
    statistics?.close();
    for (const program of programs) program.close();
    attached?.detach();
  }
}

function readCpu(): { readonly total: number; readonly idle: number } {
  const stat = readFileSync("/proc/stat", "utf8");
  // user, nice, system, idle, iowait, …
  const fields = (/^cpu\s+(.*)$/m.exec(stat)?.[1] ?? "").split(" ").map(Number);
  return { total: parseCpuTicks(stat).total, idle: fields[3] + fields[4] };
}

const processors = () => (readFileSync("/proc/stat", "utf8").match(/^cpu\d/gm) ?? []).length;
