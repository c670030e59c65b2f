/** The paper's section V-A (figure 5): what operations, chains and granularities cost packets, flows and processors. */
import { createLab, type Lab } from "../lab.ts";
import type { LabSpec } from "../spec.ts";
import { connectionLimit, startAnswering, type AnswerServer } from "../workload/many-flows.ts";
import { inTurn, type Experiment, type ExperimentOptions, type Findings } from "./experiment.ts";
import { addressesOf, attachSide, chainOfLength, type Side } from "./overhead/chains.ts";
import { measureOperations } from "./overhead/operations.ts";
import {
  chainLengths,
  checksOf,
  concurrentSection,
  cpuSection,
  granularitySection,
  lengthName,
  limitedMbit,
  operationsSection,
  rttMs,
  tuplesSection,
  type Plan,
  type Results,
} from "./overhead/sections.ts";
import { costOfFlows, costOfTransfer, flowBytes, granularities } from "./overhead/traffic.ts";
import { costByTuples } from "./overhead/tuples.ts";

/** A link for each length, and one without a chain: chains stay attached while they are measured in turn. */
const bareLink = "none";
const linkOf = (length: number) => `length${length}`;
const sideLinks = [bareLink, ...chainLengths.map(linkOf)];
const granularityLink = (index: number) => `pick${index}`;
const granularityCount = Object.keys(granularities(0, { local: "10.0.0.1", remote: "10.0.0.2" })).length;

/** Links without a limit, so that flows are as short as this machine can make them. */
export const overheadLab: LabSpec = {
  hosts: { client: {}, server: {} },
  links: [...sideLinks, ...Array.from({ length: granularityCount }, (_, i) => granularityLink(i))].map((name) => ({
    name,
    between: ["client", "server"],
    largeFrames: false,
  })),
};

const whole: Plan = {
  operations: { rounds: 5, repeats: 300_000 },
  concurrent: [1, 10, 100, 1000, 10_000],
  rounds: 3,
  flows: 100,
  tuples: [1, 100, 1000, 10_000],
  tuplePackets: 3000,
  granularityFlows: 100,
  cpuRounds: 5,
  cpuMs: 2000,
};
const quick: Plan = {
  operations: { rounds: 1, repeats: 5000, names: ["src", "packet_type", "record", "mark", "mac_modify"] },
  concurrent: [20],
  rounds: 1,
  flows: 10,
  tuples: [1, 200],
  tuplePackets: 200,
  granularityFlows: 10,
  cpuRounds: 1,
  cpuMs: 200,
};

type Progress = (text: string) => void;

async function run({ quick: brief, onProgress = () => {} }: ExperimentOptions): Promise<Findings> {
  const plan = brief ? quick : whole;
  await using lab = await createLab(overheadLab);
  const operations = measureOperations(lab, bareLink, plan.operations, onProgress);
  const tuples = Object.fromEntries(
    chainLengths.map((length) => {
      onProgress(`packets of up to ${plan.tuples.at(-1)} flows, ${lengthName(length)}`);
      return [length, costByTuples(lab, bareLink, length, plan.tuples, plan.tuplePackets)];
    }),
  );
  const server = await startAnswering(lab, "server");
  try {
    const granularity = await measureGranularity(lab, server, plan, onProgress);
    const sides = new Map<string, Side>([["none", attachSide(lab, bareLink)]]);
    for (const length of chainLengths) {
      const link = linkOf(length);
      sides.set(String(length), attachSide(lab, link, chainOfLength(length, addressesOf(lab, link))));
    }
    const concurrent = await measureConcurrent(lab, server, sides, plan, onProgress);
    const cpu = await measureCpu(lab, sides, plan, onProgress);
    for (const side of sides.values()) side.detach();
    return findings({ plan, operations, concurrent, tuples, granularity, cpu });
  } finally {
    server.stop();
  }
}

async function measureGranularity(lab: Lab, server: AnswerServer, plan: Plan, onProgress: Progress) {
  const sides = new Map<string, Side>();
  for (let index = 0; index < granularityCount; index++) {
    const link = granularityLink(index);
    const [name, chain] = Object.entries(granularities(server.port, addressesOf(lab, link)))[index];
    sides.set(name, attachSide(lab, link, chain));
    await lab.setLink(link, { rttMs });
  }
  const costs = await inTurn([...sides.keys()], plan.rounds, async (name) => {
    onProgress(`granularity: ${name}`);
    return await costOfFlows(lab, server, sides.get(name)!, plan.granularityFlows, 1);
  });
  for (const side of sides.values()) side.detach();
  return costs;
}

type Sides = ReadonlyMap<string, Side>;

/** One flow at a time without any delay, which is the worst case, then ever more with the delay. */
async function measureConcurrent(lab: Lab, server: AnswerServer, sides: Sides, plan: Plan, onProgress: Progress) {
  const limit = connectionLimit();
  const counts = [...new Set(plan.concurrent.map((count) => Math.min(count, limit)))];
  const results: Results["concurrent"][number][] = [];
  for (const [flows, delay] of [[1, 0] as const, ...counts.map((count) => [count, rttMs] as const)]) {
    for (const link of sideLinks) await lab.setLink(link, { rttMs: delay });
    const batches = Math.max(1, Math.round(plan.flows / flows));
    const rounds = flows >= 5000 ? 1 : plan.rounds;
    const costs = await inTurn([...sides.keys()], rounds, async (side, round) => {
      onProgress(`${flows} concurrent flows, chain of length ${side}, round ${round + 1} of ${rounds}`);
      return await costOfFlows(lab, server, sides.get(side)!, flows, batches);
    });
    results.push({ flows, rttMs: delay, costs });
  }
  return results;
}

async function measureCpu(lab: Lab, sides: Sides, plan: Plan, onProgress: Progress) {
  for (const link of sideLinks) await lab.setLink(link, { rateMbit: limitedMbit });
  return await inTurn([...sides.keys()], plan.cpuRounds, async (side) => {
    onProgress(`processors, chain of length ${side}`);
    return await costOfTransfer(lab, sides.get(side)!, plan.cpuMs);
  });
}

function findings(results: Results): Findings {
  const { plan } = results;
  const most = results.concurrent.at(-1)!.flows;
  return {
    title: "Overhead: what chains cost",
    question: "What does a chain cost per packet, what share of a flow's time is that, and how much of the processors?",
    setup: [
      `operations: BPF_PROG_TEST_RUN on an acknowledgment with timestamps and DATA_ACK, tc ingress, ${plan.operations.rounds} rounds of ${plan.operations.repeats} runs in turn with the chain without it; medians`,
      "chains on both directions of the client's interface: src + record; src + record, rate_limit, mark; src, dst, ip_pair, src + record, rate_limit, mark, mac_modify",
      `flows: answers of ${flowBytes / 1000} kB over MPTCP, all connections open before the first asks; no limit of rate; up to ${most} at the same time; run time by the kernel's run statistics`,
      `${plan.rounds} rounds, lengths in turn; medians, least and greatest`,
    ],
    sections: [
      operationsSection(results),
      concurrentSection(results),
      tuplesSection(results),
      granularitySection(results),
      cpuSection(results),
    ],
    checks: checksOf(results),
    data: results,
  };
}

export const overhead: Experiment = {
  name: "overhead",
  summary: "what chains cost packets, flows and processors",
  run,
};
