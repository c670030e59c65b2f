/** Asks the kernel and the chains for what is watched. */
import { networkInterfaces } from "node:os";
import { openChain } from "../../chain/chains.ts";
import type { RunningChain } from "../../chain/running.ts";
import { hostStateNames } from "../../chain/host-state.ts";
import { chainNames } from "../../chain/store.ts";
import { InStackError } from "../../instack/errors.ts";
import { MetricsReader, type SubflowMetrics } from "../../instack/metrics.ts";
import {
  dumpMptcpSockets,
  dumpTcpSockets,
  InterruptedDumpError,
  netnsInode,
  withNetns,
  type NetworkNamespace,
} from "../../linux/index.ts";
import { subflowMetrics } from "../../policies/strategies.ts";
import { flowKey, type Sample, type WatchedChain } from "./model.ts";

export interface Collected {
  readonly sample: Sample;
  readonly notes: readonly string[];
}

function flowsOf(running: RunningChain): WatchedChain["flows"] {
  if (!running.description.layout.state.some(({ kind }) => kind === "flows")) return undefined;
  const flows = new Map<string, Record<string, number>>();
  for (const record of running.state().flatMap(({ flows: records = [] }) => records)) {
    const key = flowKey(
      { address: record.local, port: record.localPort },
      { address: record.remote, port: record.remotePort },
    );
    flows.set(key, { ...flows.get(key), ...record.fields });
  }
  return flows;
}

/** A chain, if it runs in the namespace with this inode. */
function watchChain(name: string, inode: number): WatchedChain | undefined {
  const running = openChain(name);
  const { attachments, netns } = running.description;
  if (netns.inode !== inode) return undefined;
  const flows = flowsOf(running);
  return {
    name,
    interfaces: [...new Set(attachments.flatMap((one) => one.interface ?? []))],
    onSockets: attachments.some(({ hook }) => hook === "sock_ops"),
    ...(flows && { flows }),
  };
}

/** Chains of the namespace; of those that cannot be read, and where this user may not look, a note. */
function collectChains(inode: number, notes: string[]): WatchedChain[] {
  const orNote = <T>(what: string, work: () => T): T | undefined => {
    try {
      return work();
    } catch (error) {
      notes.push(`${what} not shown: ${(error as Error).message}`);
      return undefined;
    }
  };
  const names = orNote("Chains are", chainNames) ?? [];
  return names.flatMap((name) => orNote(`Chain ${name} is`, () => watchChain(name, inode)) ?? []);
}

/** What the stack measures; nothing where nothing does. */
function collectMetrics(notes: string[]): SubflowMetrics[] {
  if (!hostStateNames().includes(subflowMetrics.host!)) return [];
  try {
    using reader = new MetricsReader();
    return reader.read();
  } catch (error) {
    // What measured was taken out meanwhile.
    if (!(error instanceof InStackError)) notes.push(`Metrics are not shown: ${(error as Error).message}`);
    return [];
  }
}

function collectInterfaces() {
  return Object.entries(networkInterfaces()).map(([name, addresses = []]) => ({
    name,
    addresses: addresses.map(({ address }) => address),
  }));
}

/** @throws SystemCallError, where the kernel does not list sockets */
export function collect(netns: NetworkNamespace | undefined): Collected | undefined {
  const notes: string[] = [];
  try {
    const [sockets, connections] = [dumpTcpSockets(netns), dumpMptcpSockets(netns)];
    const sample = {
      timeMs: Date.now(),
      sockets,
      connections,
      metrics: collectMetrics(notes),
      ...withNetns(netns, () => ({ interfaces: collectInterfaces(), chains: collectChains(netnsInode(), notes) })),
    };
    if (process.geteuid?.() !== 0) notes.push("Run as root to see all subflows: the kernel tells others no tokens");
    return { sample, notes };
  } catch (error) {
    // Sockets come and go too fast to be listed: the next time may do.
    if (error instanceof InterruptedDumpError) return undefined;
    throw error;
  }
}
