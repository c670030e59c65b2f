/** What can be measured, by name: each section measures by itself and gives rows. */
import { timePrograms } from "../lab/measure/programs.ts";
import { clangVersion } from "./baseline.ts";
import { benchChains, benchHooks, type BenchChain, type BenchHook } from "./chains.ts";
import { measureDurations, type ChainDurations } from "./durations.ts";
import { measureInStack, type AckCost } from "./in-stack.ts";
import { linkedChains, timeLinked } from "./linked.ts";
import { measureMembers } from "./members.ts";
import { measureMetrics } from "./metrics.ts";
import { timedPacket } from "./packets.ts";
import { pathManagerRows } from "./path-manager-rows.ts";
import { comparePathManagers } from "./path-managers.ts";
import { checkAgreement, loadBaseline, loadChain, loadEmpty } from "./pair.ts";
import { rounded, type Row } from "./report.ts";
import { measureThroughput, type Throughput } from "./throughput.ts";

const titles: Readonly<Record<BenchHook, string>> = { xdp: "XDP", tcx_ingress: "tc ingress" };

/** Says what was just measured. */
export type Say = (what: string) => void;

const done = (name: string, disturbed: number): string =>
  disturbed === 0 ? name : `${name}; ${disturbed} disturbed ${disturbed === 1 ? "round" : "rounds"}`;

function measurePackets(chain: BenchChain, hook: BenchHook, withBaseline: boolean, say: Say): Row {
  const name = `${chain.name}, ${titles[hook]}`;
  const ours = loadChain(chain, hook);
  try {
    const baseline = withBaseline ? loadBaseline(chain, hook) : undefined;
    try {
      if (baseline) checkAgreement(name, ours, baseline);
      const programs = [ours, ...(baseline ? [baseline] : [])].map(({ program }) => program);
      const { nsPerPacket, disturbed } = timePrograms(programs, timedPacket);
      const [mine, theirs] = nsPerPacket.map((value) => rounded(value, 2));
      say(done(name, disturbed));
      return theirs === undefined
        ? { name, nsPerPacket: mine, baseline: null, ratio: null }
        : { name, nsPerPacket: mine, baseline: theirs, ratio: rounded(mine / theirs, 3) };
    } finally {
      baseline?.close();
    }
  } finally {
    ours.close();
  }
}

/** What a test run costs by itself: part of every number above. */
function measureEmpty(hook: BenchHook): Row {
  const program = loadEmpty(hook);
  try {
    const { nsPerPacket } = timePrograms([program], timedPacket);
    return {
      name: `an empty program, ${titles[hook]}`,
      nsPerPacket: rounded(nsPerPacket[0], 2),
      baseline: null,
      ratio: null,
    };
  } finally {
    program.close();
  }
}

function durationRows({ name, compile, load, submit, submitAgain }: ChainDurations): Row[] {
  return [
    { name: `compilation, ${name}`, ms: rounded(compile, 1) },
    { name: `maps and programs, ${name}`, ms: rounded(load, 1) },
    { name: `submission, ${name}`, ms: rounded(submit, 1) },
    { name: `submission once more, ${name}`, ms: rounded(submitAgain, 1) },
  ];
}

function changeRows({ name, set, setTwo, setInARow, addActor, disableActor }: ChainDurations): Row[] {
  return [
    // One change by itself: so many would not fit into a second, see `setInARow`.
    { name: `changing a parameter, ${name}`, ms: rounded(set, 4) },
    { name: `changing two parameters, ${name}`, ms: rounded(setTwo, 4) },
    changesRow(`a parameter, many times in a row, ${name}`, setInARow),
    changesRow(`the chain by one actor, ${name}`, addActor),
    changesRow(`the chain by leaving one out, ${name}`, disableActor),
  ];
}

function changesRow(what: string, ms: number): Row {
  return { name: `changing ${what}`, ms: rounded(ms, ms < 1 ? 4 : 1), perSecond: rounded(1000 / ms, 1) };
}

function transferRow(name: string, { measured, baseline, ratio }: Throughput): Row {
  return { name, mbitPerSecond: rounded(measured, 0), baseline: rounded(baseline, 0), ratio: rounded(ratio, 3) };
}

function ackRow({ strategy, nsPerAck, cubicNsPerAck }: AckCost): Row {
  return {
    name: `an ACK, congestion control emptcp, ${strategy} (${(nsPerAck - cubicNsPerAck).toFixed(0)} ns more than cubic)`,
    nsPerAck: rounded(nsPerAck, 1),
    baseline: rounded(cubicNsPerAck, 1),
    ratio: rounded(nsPerAck / cubicNsPerAck, 3),
  };
}

/** In the order in which they are measured: the first compilation has to come before any other. */
export const sections: Readonly<Record<string, (say: Say) => Promise<Row[]>>> = {
  async durations(say) {
    const { firstCompileMs, chains } = await measureDurations(say);
    return [
      { name: `first compilation, ${benchChains.at(-1)!.name}`, ms: rounded(firstCompileMs, 1) },
      ...chains.flatMap(durationRows),
      ...chains.flatMap(changeRows),
    ];
  },
  async chains(say) {
    const clang = clangVersion();
    say(clang ?? "clang is not installed: no baseline, no ratio (apt-get install clang)");
    const rows = benchChains.flatMap((chain) =>
      benchHooks.map((hook) => measurePackets(chain, hook, clang !== undefined, say)),
    );
    return [...rows, ...benchHooks.map(measureEmpty)];
  },
  async linked(say) {
    return linkedChains.flatMap((chain) =>
      benchHooks.map((hook) => {
        const row = timeLinked(chain, hook, titles[hook]);
        say(row.name);
        return row;
      }),
    );
  },
  async members() {
    const { addAllMs, changeOneMs } = await measureMembers();
    return [
      { name: "adding 100 000 members", ms: rounded(addAllMs, 1) },
      changesRow("one of 100 000 members", changeOneMs),
    ];
  },
  async transfer(say) {
    const recorded = await measureThroughput(say);
    return [transferRow("transfer, every packet recorded on tc", recorded)];
  },
  async "in-stack"(say) {
    const { acks, transfer } = await measureInStack(say);
    return [...acks.map(ackRow), transferRow("transfer, congestion control emptcp without a strategy", transfer)];
  },
  async metrics() {
    const { mappedNs, systemCallNs } = await measureMetrics();
    return [
      {
        name: "a subflow's metrics, mapped into memory, against a system call",
        nsPerRead: rounded(mappedNs, 1),
        baseline: rounded(systemCallNs, 1),
        ratio: rounded(mappedNs / systemCallNs, 3),
      },
    ];
  },
  async "path-managers"(say) {
    return pathManagerRows(await comparePathManagers(say));
  },
};
