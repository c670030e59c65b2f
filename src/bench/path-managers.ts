/**
 * Who opens second subflows sooner, and for how much: mptcpd, a controller of ours and, for reference, the kernel, in turn on the
 * same connections in the same lab. One connection after the other first, then as many as there can be.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createLab, watchSteal, type Lab } from "../lab/index.ts";
import {
  joinDelayLab,
  measureJoinDelays,
  secondAddress,
  startPathManager,
  type JoinDelay,
  type PathManagerChoice,
} from "../lab/measure/join-delay.ts";
import { watchPathManager } from "../linux/mptcp-events.ts";
import { prepareMptcpd } from "./mptcpd.ts";
import { costOf, memoryOf, type ProcessMemory } from "./processes.ts";
import { measureRecovery, type Recovery } from "./recovery.ts";

const rounds = 3;
/** Code that has not run yet is slow, of ours above all; a daemon runs for days. */
const warmUp = { count: 300, perSecond: 500, holdMs: 100 } as const;
/** 1000 in all; each has its second subflow before the next one begins, and ends halfway between two beginnings. */
const calm = { count: 334, perSecond: 200, holdMs: 302.5 } as const;
export const stormPerSecond = 2000;
const storm = { count: 3000, perSecond: stormPerSecond, holdMs: 1000 } as const;
/** Until connections that were closed are gone, and their ends were told. */
const settleMs = 400;
/** Until memory that was needed no more is given back: whoever was busy is tidying up for a while. */
const tidyMs = 3000;
const asleepMs = 5000;

export type ManagerName = "emptcp" | "mptcpd" | "kernel";

/** Connections under one manager in one round. */
export interface Series {
  readonly delays: readonly JoinDelay[];
  readonly connections: number;
  readonly missed: number;
  /** As it came out. */
  readonly perSecond: number;
  /** Of the process; 0 without one. */
  readonly cpuMs: number;
}

/** Of a process that nobody wants anything of. */
export interface Asleep {
  readonly cpuMsPerSecond: number;
  readonly sleepsPerSecond: number;
}

/** Lists have one of each round; the rest is measured once. */
export interface Measured {
  readonly calm: Series[];
  readonly storm: Series[];
  /** Behind the connections. */
  readonly memory: ProcessMemory[];
  asleep?: Asleep;
  recovery?: Recovery;
}

export interface Comparison {
  /** Of mptcpd, or why there is none. */
  readonly mptcpd: { readonly version: string } | { readonly failure: string };
  readonly eventsPerConnection: number;
  readonly managers: Readonly<Partial<Record<ManagerName, Measured>>>;
}

export async function comparePathManagers(say: (what: string) => void): Promise<Comparison> {
  const choices = new Map<ManagerName, PathManagerChoice>([["emptcp", ourController()]]);
  const mptcpd = offerMptcpd(choices);
  say("version" in mptcpd ? mptcpd.version : `no baseline, for mptcpd is not available: ${mptcpd.failure}`);
  choices.set("kernel", { kind: "kernel", addresses: [secondAddress] });
  const managers: Partial<Record<ManagerName, Measured>> = {};
  let eventsPerConnection = 0;
  for (let round = 0; round < rounds; round++) {
    // Each goes first once: what drifts meanwhile favours none.
    const order = [...choices.keys()];
    for (const name of [...order.slice(round % order.length), ...order.slice(0, round % order.length)]) {
      const stolen = watchSteal();
      const into = (managers[name] ??= { calm: [], storm: [], memory: [] });
      const events = await inFreshLab((lab) => measureRound(lab, choices.get(name)!, into, round === rounds - 1));
      // Of a connection without a second subflow there are fewer.
      eventsPerConnection = Math.max(eventsPerConnection, events);
      say(`round ${round + 1} of ${rounds}, ${name}; ${stolen().toFixed(0)} % of the time was stolen`);
    }
  }
  say(`${eventsPerConnection.toFixed(1)} events of each connection`);
  for (const name of choices.keys()) {
    if (name === "kernel") continue;
    managers[name]!.recovery = await inFreshLab((lab) => measureRecovery(lab, choices.get(name)!));
    say(`restart of ${name}`);
  }
  return { mptcpd, eventsPerConnection, managers };
}

/**
 * Connections leave ports in TIME-WAIT for a minute. Where half of an address's ports are taken, the kernel needs milliseconds
 * to find one for a subflow, whoever asks: one round would spoil the next.
 */
async function inFreshLab<T>(measure: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = await createLab(joinDelayLab);
  try {
    return await measure(lab);
  } finally {
    await lab.close();
  }
}

function ourController(): PathManagerChoice {
  const [cli, file] = ["../cli/main.js", "./second-subflow.js"].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  );
  return {
    kind: "command",
    command: ["env", `SECOND_ADDRESS=${secondAddress}`, process.execPath, cli, "paths", "run", file],
  };
}

function offerMptcpd(choices: Map<ManagerName, PathManagerChoice>): Comparison["mptcpd"] {
  try {
    const { version, command } = prepareMptcpd(secondAddress);
    choices.set("mptcpd", { kind: "command", command });
    return { version };
  } catch (error) {
    return { failure: (error as Error).message.split("\n")[0] };
  }
}

/** @returns how many events the kernel tells of a connection */
async function measureRound(lab: Lab, choice: PathManagerChoice, into: Measured, isLast: boolean): Promise<number> {
  const manager = await startPathManager(lab, "client", choice);
  try {
    const eventsPerConnection = await countEvents(lab);
    for (const [options, series] of [[calm, into.calm] as const, [storm, into.storm] as const]) {
      const cpuMs = () => (manager.pid === undefined ? 0 : costOf(manager.pid).cpuMs);
      const before = cpuMs();
      const { delays, connections, missed, perSecond } = await measureJoinDelays(lab, options);
      await sleep(settleMs);
      manager.check();
      series.push({ delays, connections, missed, perSecond, cpuMs: cpuMs() - before });
    }
    if (manager.pid !== undefined) {
      into.memory.push(memoryOf(manager.pid));
      if (isLast) into.asleep = await measureAsleep(manager.pid);
      manager.check();
    }
    return eventsPerConnection;
  } finally {
    await manager.stop();
  }
}

/** Warms the manager up meanwhile. */
async function countEvents(lab: Lab): Promise<number> {
  let events = 0;
  using _reader = watchPathManager({ event: () => events++ }, { netns: lab.host("client").netns });
  await measureJoinDelays(lab, warmUp);
  await sleep(settleMs);
  return events / warmUp.count;
}

async function measureAsleep(pid: number): Promise<Asleep> {
  await sleep(tidyMs);
  const [before, start] = [costOf(pid), performance.now()];
  await sleep(asleepMs);
  const [after, seconds] = [costOf(pid), (performance.now() - start) / 1000];
  return {
    cpuMsPerSecond: (after.cpuMs - before.cpuMs) / seconds,
    sleepsPerSecond: (after.sleeps - before.sleeps) / seconds,
  };
}
