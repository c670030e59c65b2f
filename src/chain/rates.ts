/** What a chain does per second, and what its programs cost, measured while packets flow. */
import { setTimeout } from "node:timers/promises";
import { enableRunStatistics, openLink, programFromId, type KernelProgram } from "../linux/index.ts";
import type { ChainCounters } from "./counters.ts";
import type { Attachment } from "./description.ts";

export interface SelectorRates {
  readonly name: string;
  readonly seenPerSecond: number;
  readonly matchedPerSecond: number;
}

export interface ActorRates {
  readonly name: string;
  readonly seenPerSecond: number;
  readonly actedPerSecond: number;
  /** All reasons together. */
  readonly cannotPerSecond: number;
}

/** A program as the kernel measured it. A fused chain is one program for each hook: its policies' shares are not told apart. */
export interface ProgramRates {
  readonly hook: Attachment["hook"];
  /** That it is attached to; none for programs that see sockets. */
  readonly interfaces: readonly string[];
  readonly runsPerSecond: number;
  /** Mean of a run, the measuring itself included (some 10 ns); undefined when it did not run. */
  readonly nsPerRun?: number;
  /** Part of one CPU's time, 0 to 1 for each CPU. */
  readonly cpuShare: number;
}

export interface ChainRates {
  /** How long was measured. */
  readonly seconds: number;
  readonly seenPerSecond: number;
  readonly matchedPerSecond: number;
  readonly selectors: readonly SelectorRates[];
  readonly actors: readonly ActorRates[];
  readonly programs: readonly ProgramRates[];
}

interface Attached {
  readonly hook: Attachment["hook"];
  readonly interfaces: readonly string[];
  readonly program: KernelProgram;
}

/** What is measured: counters, and attachments whose links are pinned in `directory`. */
export interface Measured {
  readonly directory: string;
  readonly attachments: readonly Attachment[];
  readonly counters: () => ChainCounters;
}

/** @throws KernelError, also where the kernel does not measure programs */
export async function measureRates(measured: Measured, seconds: number): Promise<ChainRates> {
  const attached = openAttached(measured);
  try {
    // The kernel measures all programs of the machine while this is open.
    const statistics = enableRunStatistics();
    try {
      const started = performance.now();
      const before = takeSample(measured, attached);
      await setTimeout(1000 * seconds);
      const elapsed = (performance.now() - started) / 1000;
      return ratesBetween(before, takeSample(measured, attached), elapsed);
    } finally {
      statistics.close();
    }
  } finally {
    for (const { program } of attached) program.close();
  }
}

/** Programs that run by themselves, each once: the others walk over sockets when they are told to. */
function openAttached({ directory, attachments }: Measured): Attached[] {
  const found = new Map<number, Attached>();
  for (const { hook, interface: name, pin } of attachments) {
    if (hook === "iter_tcp" || hook === "iter_tcp_release") continue;
    using link = openLink(`${directory}/${pin}`);
    const { programId } = link.info();
    const known = found.get(programId) ?? { hook, interfaces: [], program: programFromId(programId) };
    found.set(programId, { ...known, interfaces: [...known.interfaces, ...(name === undefined ? [] : [name])] });
  }
  return [...found.values()];
}

/** @internal */
export interface Sample {
  readonly counters: ChainCounters;
  readonly programs: readonly (Omit<Attached, "program"> & {
    readonly runTimeNs: number;
    readonly runCount: number;
  })[];
}

function takeSample({ counters }: Measured, attached: readonly Attached[]): Sample {
  return {
    counters: counters(),
    programs: attached.map(({ hook, interfaces, program }) => {
      const { runTimeNs, runCount } = program.info();
      return { hook, interfaces, runTimeNs, runCount };
    }),
  };
}

const all = (cannot: Readonly<Record<string, number>>): number =>
  Object.values(cannot).reduce((sum, count) => sum + count, 0);

/** @internal What changed from one sample of a chain to the next. */
export function ratesBetween(before: Sample, after: Sample, seconds: number): ChainRates {
  const rate = (from: number, to: number): number => (to - from) / seconds;
  const [then, now] = [before.counters, after.counters];
  return {
    seconds,
    seenPerSecond: rate(then.seen, now.seen),
    matchedPerSecond: rate(then.matched, now.matched),
    selectors: now.selectors.map(({ name, seen, matched }, i) => ({
      name,
      seenPerSecond: rate(then.selectors[i].seen, seen),
      matchedPerSecond: rate(then.selectors[i].matched, matched),
    })),
    actors: now.actors.map(({ name, seen, acted, cannot }, i) => ({
      name,
      seenPerSecond: rate(then.actors[i].seen, seen),
      actedPerSecond: rate(then.actors[i].acted, acted),
      cannotPerSecond: rate(all(then.actors[i].cannot), all(cannot)),
    })),
    programs: after.programs.map(({ hook, interfaces, runTimeNs, runCount }, i) => {
      const runs = runCount - before.programs[i].runCount;
      const timeNs = runTimeNs - before.programs[i].runTimeNs;
      return {
        hook,
        interfaces,
        runsPerSecond: runs / seconds,
        ...(runs > 0 && { nsPerRun: timeNs / runs }),
        cpuShare: timeNs / (seconds * 1e9),
      };
    }),
  };
}
