/**
 * What congestion control `emptcp` costs for each ACK, under each strategy, and what it costs a transfer: next to cubic, on
 * which it builds. Programs are timed by the kernel while a transfer runs them.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { emptcp, registerInStack, Strategies, type RunningInStack, type Strategy } from "../instack/index.ts";
import type { Lab } from "../lab/index.ts";
import { median } from "../lab/measure/programs.ts";
import { dumpTcpSockets, type TcpSocket } from "../linux/index.ts";
import { passThrough } from "./stack-policies.ts";
import { alternate, transfer, type Throughput } from "./throughput.ts";
import { createTransferLab, whileTransferring } from "./transfer.ts";

const rounds = 5;
const measuredSeconds = 0.5;
/** Until both ends follow what they were told. */
const settleMs = 100;

/** What the subflows are told, by their number. */
const strategies: Readonly<Record<string, (index: number) => Strategy>> = {
  "no strategy": () => ({ kind: "none" }),
  window: () => ({ kind: "window", windowBytes: 1 << 20 }),
  rate: () => ({ kind: "rate", rateBytesPerSecond: 2_000_000_000 }),
  "weights of two subflows": (index) => ({ kind: "weight", weight: index === 0 ? 70 : 30 }),
  LIA: () => ({ kind: "coupled", algorithm: "lia" }),
  OLIA: () => ({ kind: "coupled", algorithm: "olia" }),
  BALIA: () => ({ kind: "coupled", algorithm: "balia" }),
  wVegas: () => ({ kind: "coupled", algorithm: "wvegas" }),
  credits: () => ({ kind: "credit", creditBytes: half }),
};
/** Credits are counted as sequence numbers are: half of these are ahead of any. */
const half = 2 ** 31;
const probeWindow = 2;

export interface AckCost {
  readonly strategy: string;
  /** Medians, of all operations that run while data is acknowledged, without what measuring them costs. */
  readonly nsPerAck: number;
  /** Of cubic's operations, called by programs that do nothing else. */
  readonly cubicNsPerAck: number;
}

export interface StackCosts {
  readonly acks: readonly AckCost[];
  /** Without a strategy, against the kernel's own cubic. */
  readonly transfer: Throughput;
}

export async function measureInStack(say: (what: string) => void): Promise<StackCosts> {
  const lab = await createTransferLab();
  try {
    const executor = registerInStack(emptcp, { name: `bench_${process.pid}`, stays: false });
    try {
      const acks = await measureAcks(lab, executor, say);
      const throughput = await alternate(
        () => transfer(lab, executor.name),
        () => transfer(lab, "cubic"),
        say,
      );
      return { acks, transfer: throughput };
    } finally {
      executor.remove();
    }
  } finally {
    await lab.close();
  }
}

async function measureAcks(
  lab: Lab,
  executor: RunningInStack,
  say: (what: string) => void,
): Promise<readonly AckCost[]> {
  const bare = registerInStack(passThrough, { name: `benchb_${process.pid}`, stays: false });
  const costs = Object.keys(strategies).map((strategy) => ({ strategy, ours: [] as number[] }));
  const cubic: number[] = [];
  const quiet = async (running: RunningInStack, strategy?: string): Promise<Runs> => {
    for (let attempt = 0; attempt < 4; attempt++) {
      const runs = await timeTransfer(lab, running, strategy);
      if (runs) return runs;
      say("once more: its sockets were given other congestion control meanwhile");
    }
    throw new Error(
      "Cannot time congestion control: something on this host gives sockets another one (emptcp chain list)",
    );
  };
  try {
    for (let round = 0; round < rounds; round++) {
      const under = await quiet(bare);
      const emptyNs = under.operations.get("in_ack_event")!.nsPerRun;
      cubic.push(netNsPerAck(under, emptyNs));
      for (const { strategy, ours } of costs) ours.push(netNsPerAck(await quiet(executor, strategy), emptyNs));
      say(`round ${round + 1} of ${rounds}`);
    }
  } finally {
    bare.remove();
  }
  const cubicNsPerAck = median(cubic);
  return costs.map(({ strategy, ours }) => ({ strategy, nsPerAck: median(ours), cubicNsPerAck }));
}

interface Runs {
  readonly operations: ReadonlyMap<string, { readonly runsPerSecond: number; readonly nsPerRun: number }>;
}

/** A transfer's runs; undefined when its sockets were given to other congestion control meanwhile. */
async function timeTransfer(lab: Lab, running: RunningInStack, strategy?: string): Promise<Runs | undefined> {
  const { found } = await whileTransferring(
    lab,
    async () => {
      if (strategy !== undefined) await instruct(lab, strategies[strategy]);
      const rates = await running.rates(measuredSeconds);
      if (subflows(lab).some(({ congestionControl }) => congestionControl !== running.name)) return undefined;
      return new Map(
        rates.map(({ operation, runsPerSecond, nsPerRun = 0 }) => [operation, { runsPerSecond, nsPerRun }]),
      );
    },
    running.name,
  );
  return found && { operations: found };
}

/** Of the host that sends. */
function subflows(lab: Lab): TcpSocket[] {
  return dumpTcpSockets(lab.host("server").netns)
    .filter(({ state, mptcp }) => state === "established" && mptcp !== undefined)
    .sort((a, b) => a.local.address.localeCompare(b.local.address));
}

async function instruct(lab: Lab, of: (index: number) => Strategy): Promise<void> {
  using table = new Strategies();
  for (const [index, { local, remote }] of subflows(lab).entries()) table.set({ local, remote }, of(index));
  await sleep(settleMs);
  if (of(0).kind !== "credit") return;
  // Whose sequence numbers lie in the other half.
  for (const { local, remote, tcp } of subflows(lab))
    if ((tcp?.sndCwnd ?? 0) <= probeWindow) table.set({ local, remote }, { kind: "credit", creditBytes: 2 * half });
}

/** Time per ACK of data, of all operations, without that of `emptyNs` which measuring takes in each run. */
function netNsPerAck({ operations }: Runs, emptyNs: number): number {
  // The kernel calls it once for each ACK while anything waits to be acknowledged.
  const acks = operations.get("pkts_acked")!.runsPerSecond;
  const busy = [...operations.values()].map(({ runsPerSecond, nsPerRun }) => runsPerSecond * (nsPerRun - emptyNs));
  return busy.filter((ns) => ns > 0).reduce((sum, ns) => sum + ns, 0) / acks;
}
