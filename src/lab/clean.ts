/** Nothing is left behind: labs close when their process ends, and leftovers of killed processes can be removed. */
import { deleteNetns, listNetns } from "../linux/netns.ts";
import { ownerAlive, parseNamespaceName } from "./run-id.ts";

export type Leftover = { readonly runId: string; readonly pid: number; readonly namespaces: readonly string[] };

/** All labs of this machine, by run. */
export function listLabs(): (Leftover & { readonly alive: boolean })[] {
  const runs = new Map<string, { pid: number; alive: boolean; namespaces: string[] }>();
  for (const name of listNetns()) {
    const owner = parseNamespaceName(name);
    if (owner === undefined) continue;
    const run = runs.get(owner.runId) ?? { pid: owner.pid, alive: ownerAlive(owner), namespaces: [] };
    run.namespaces.push(name);
    runs.set(owner.runId, run);
  }
  return [...runs].map(([runId, run]) => ({ runId, ...run }));
}

/**
 * Removes what dead runs left: namespaces, and with them their links, rules and queues. Runs whose process lives are not
 * touched. @returns what was removed.
 */
export function cleanLab(): Leftover[] {
  const dead = listLabs().filter((run) => !run.alive);
  for (const run of dead) for (const name of run.namespaces) deleteNetns(name);
  return dead.map(({ runId, pid, namespaces }) => ({ runId, pid, namespaces }));
}

type Closable = { closeNow(): void };
const open = new Set<Closable>();
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Closes `lab` when the process ends by itself or by a signal. Returns a function that takes it off the list. */
export function closeAtExit(lab: Closable): () => void {
  if (open.size === 0) {
    process.on("exit", closeAll);
    for (const signal of signals) process.on(signal, onSignal);
  }
  open.add(lab);
  return () => {
    if (!open.delete(lab) || open.size > 0) return;
    process.off("exit", closeAll);
    for (const signal of signals) process.off(signal, onSignal);
  };
}

function closeAll(): void {
  for (const lab of open) {
    try {
      lab.closeNow();
    } catch (error) {
      console.error(error);
    }
  }
}

function onSignal(signal: NodeJS.Signals): void {
  closeAll();
  // Someone else may want to end in their own way; otherwise the signal does what it would have done.
  for (const each of signals) process.off(each, onSignal);
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
}
