/**
 * `npm run bench`: what a chain costs per packet next to the same in C, how long it takes to compile and to submit, what
 * congestion control costs per ACK next to cubic, and what a transfer loses. Progress goes to stderr; stdout gets the table, or with `--json` an array of rows.
 */
import { clangVersion } from "./baseline.ts";
import { benchChains, benchHooks, type BenchChain, type BenchHook } from "./chains.ts";
import { measureDurations, type ChainDurations } from "./durations.ts";
import { linkedChains, timeLinked } from "./linked.ts";
import { timePrograms } from "../lab/measure/programs.ts";
import { measureInStack, type AckCost } from "./in-stack.ts";
import { measureMembers } from "./members.ts";
import { measureMetrics } from "./metrics.ts";
import { timedPacket } from "./packets.ts";
import { checkAgreement, loadBaseline, loadChain, loadEmpty } from "./pair.ts";
import { formatTable, rounded, type Row } from "./report.ts";
import { measureThroughput, type Throughput } from "./throughput.ts";

const titles: Readonly<Record<BenchHook, string>> = { xdp: "XDP", tcx_ingress: "tc ingress" };

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function noteDisturbed(rounds: number): string {
  return rounds === 0 ? "" : `; ${rounds} disturbed ${rounds === 1 ? "round" : "rounds"}`;
}

function measurePackets(chain: BenchChain, hook: BenchHook, withBaseline: boolean): Row {
  const name = `${chain.name}, ${titles[hook]}`;
  const ours = loadChain(chain, hook);
  try {
    const baseline = withBaseline ? loadBaseline(chain, hook) : undefined;
    try {
      if (baseline) checkAgreement(name, ours, baseline);
      const programs = [ours, ...(baseline ? [baseline] : [])].map(({ program }) => program);
      const { nsPerPacket, disturbed } = timePrograms(programs, timedPacket);
      const [mine, theirs] = nsPerPacket.map((value) => rounded(value, 2));
      say(`timed   ${name}${noteDisturbed(disturbed)}`);
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

async function run(): Promise<Row[]> {
  const clang = clangVersion();
  say(clang ? `C       ${clang}` : "C       clang is not installed: no baseline, no ratio (apt-get install clang)");
  const durations = await measureDurations();
  say("timed   compilation, submission, changes");
  const rows = benchChains.flatMap((chain) =>
    benchHooks.map((hook) => measurePackets(chain, hook, clang !== undefined)),
  );
  const linked = linkedChains.flatMap((chain) => benchHooks.map((hook) => timeLinked(chain, hook, titles[hook])));
  say("timed   linked chains");
  const members = await measureMembers();
  say("timed   changes of members");
  const recorded = await measureThroughput();
  say(`timed   transfers${noteDisturbed(recorded.disturbed)}`);
  const stack = await measureInStack();
  say(`timed   congestion control${noteDisturbed(stack.disturbed + stack.transfer.disturbed)}`);
  const metrics = await measureMetrics();
  say("timed   reads of metrics");
  const largest = benchChains.at(-1)!.name;
  return [
    ...rows,
    ...linked,
    ...benchHooks.map(measureEmpty),
    { name: `first compilation, ${largest}`, ms: rounded(durations.firstCompileMs, 1) },
    ...durations.chains.flatMap(durationRows),
    { name: "adding 100 000 members", ms: rounded(members.addAllMs, 1) },
    changesRow("one of 100 000 members", members.changeOneMs),
    ...durations.chains.flatMap(changeRows),
    transferRow("transfer, every packet recorded on tc", recorded),
    ...stack.acks.map(ackRow),
    transferRow("transfer, congestion control emptcp without a strategy", stack.transfer),
    {
      name: "a subflow's metrics, mapped into memory, against a system call",
      nsPerRead: rounded(metrics.mappedNs, 1),
      baseline: rounded(metrics.systemCallNs, 1),
      ratio: rounded(metrics.mappedNs / metrics.systemCallNs, 3),
    },
  ];
}

const options = process.argv.slice(2);
const unknown = options.find((option) => option !== "--json");
if (unknown !== undefined) {
  say(`Cannot run the benchmark: no option ${unknown}; there is --json`);
  process.exitCode = 2;
} else {
  try {
    const rows = await run();
    process.stdout.write(`${options.includes("--json") ? JSON.stringify(rows, undefined, 2) : formatTable(rows)}\n`);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
