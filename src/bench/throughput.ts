/** What a chain, or congestion control, costs a transfer: in turn without and with it. */
import { setTimeout as sleep } from "node:timers/promises";
import { ActorChain, PolicyChain, SelectorChain } from "../chain/index.ts";
import { watchSteal, type Lab } from "../lab/index.ts";
import { median } from "../lab/measure/programs.ts";
import { createTransferLab, whileTransferring } from "./transfer.ts";

const transferMs = 1000;
const rounds = 9;
/** Percent of the machine's time that others may have taken during a transfer. */
const stealLimit = 3;

export interface Throughput {
  /** Median Mbit/s of the two sides. */
  readonly measured: number;
  readonly baseline: number;
  /** Median over the rounds of one by the other: rounds differ more than the two of a round do. */
  readonly ratio: number;
}

/** A transfer whose every packet a chain records, against one without. */
export async function measureThroughput(say: (what: string) => void): Promise<Throughput> {
  const lab = await createTransferLab();
  try {
    return await alternate(
      () => transferThroughChain(lab),
      () => transfer(lab),
      say,
    );
  } finally {
    await lab.close();
  }
}

/** Two transfers, which resolve to Mbit/s, in turn. */
export async function alternate(
  measured: () => Promise<number>,
  baseline: () => Promise<number>,
  say: (what: string) => void,
): Promise<Throughput> {
  const quiet: [number, number][] = [];
  const disturbed: [number, number][] = [];
  while (quiet.length < rounds && quiet.length + disturbed.length < 1.5 * rounds) {
    const stolen = watchSteal();
    // Each goes first in every other round: what drifts meanwhile favours neither.
    const measuredFirst = (quiet.length + disturbed.length) % 2 === 1;
    const before = measuredFirst ? undefined : await baseline();
    const one = await measured();
    const other = before ?? (await baseline());
    const isQuiet = stolen() <= stealLimit;
    (isQuiet ? quiet : disturbed).push([one, other]);
    say(`${one.toFixed(0)} and ${other.toFixed(0)} Mbit/s${isQuiet ? "" : ", disturbed"}`);
  }
  const kept = quiet.length >= 3 ? quiet : [...quiet, ...disturbed];
  return {
    measured: median(kept.map(([value]) => value)),
    baseline: median(kept.map(([, value]) => value)),
    ratio: median(kept.map(([one, other]) => one / other)),
  };
}

/** Mbit/s received. */
export async function transfer(lab: Lab, congestionControl?: string): Promise<number> {
  return (await whileTransferring(lab, () => sleep(transferMs), congestionControl)).mbitPerSecond;
}

async function transferThroughChain(lab: Lab): Promise<number> {
  const chain = recordEverything(lab).submit();
  try {
    const mbit = await transfer(lab);
    if (chain.counters().seen === 0) throw new Error("Cannot measure throughput: the chain saw no packet");
    return mbit;
  } finally {
    chain.remove();
  }
}

function recordEverything(lab: Lab): PolicyChain {
  const { netns } = lab.host("client");
  const interfaces = lab.host("client").interfaces.map(({ link }) => link);
  return new PolicyChain(new SelectorChain(), new ActorChain().add("record"), {
    name: `bench-${lab.runId}`,
    interfaces,
    netns,
  });
}
