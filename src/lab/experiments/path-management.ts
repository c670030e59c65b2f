/**
 * Use case 3 of the paper (section V, figures 9a and 9b): one path at first, more with the bytes received, and of those only
 * ones that share no link with another. Of three paths between client and server the last two meet at a router.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ActorChain, PolicyChain, SelectorChain } from "../../chain/index.ts";
import { createLab, type Lab } from "../lab.ts";
import { readMptcpCounters } from "../measure/counters.ts";
import { median } from "../measure/programs.ts";
import type { Section } from "../report/report.ts";
import type { LabSpec } from "../spec.ts";
import { requestResponse } from "../workload/request-response.ts";
import { megabits, startTransfer, type Transfer } from "../workload/transfer.ts";
import {
  attachChain,
  changePercent,
  formatChange,
  formatSpread,
  inTurn,
  spreadOf,
  type Experiment,
  type ExperimentOptions,
  type Findings,
} from "./experiment.ts";
import { growPaths } from "./policies/grow_paths.ts";

const directMbit = 20;
/** Where a connection may begin to use a second path. */
const growBytes = 256_000;
/** The server's ids of the addresses it announces. */
const [leftId, rightId] = [1, 2];

/** `direct` stands alone; `left` and `right` both end in `trunk`. */
export const threePaths: LabSpec = {
  hosts: {
    client: { routes: { "10.9.1.1/32": "left", "10.9.2.1/32": "right" } },
    router: { forwards: true, routes: { "10.9.1.1/32": "trunk", "10.9.2.1/32": "trunk" } },
    server: {
      addresses: { "10.9.1.1": "trunk", "10.9.2.1": "trunk" },
      routes: { "10.0.2.0/24": "trunk", "10.0.3.0/24": "trunk" },
      announces: [
        { address: "10.9.1.1", link: "trunk", id: leftId },
        { address: "10.9.2.1", link: "trunk", id: rightId },
      ],
    },
  },
  links: [
    { name: "direct", between: ["client", "server"], rateMbit: directMbit, rttMs: 20 },
    { name: "left", between: ["client", "router"], rateMbit: 100, rttMs: 16 },
    { name: "right", between: ["client", "router"], rateMbit: 100, rttMs: 56 },
    { name: "trunk", between: ["router", "server"], rateMbit: directMbit, rttMs: 4 },
  ],
};

interface Plan {
  readonly smallKilobytes: readonly number[];
  readonly smallRounds: number;
  readonly buffersKilobytes: readonly number[];
  readonly largeRounds: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
}
const whole: Plan = {
  smallKilobytes: [20, 60, 100, 140, 180, 220],
  smallRounds: 9,
  buffersKilobytes: [128, 256, 512, 1024, 4096],
  largeRounds: 3,
  warmUpMs: 1500,
  measureMs: 3000,
};
const quick: Plan = {
  smallKilobytes: [20, 220],
  smallRounds: 2,
  buffersKilobytes: [256],
  largeRounds: 1,
  warmUpMs: 1200,
  measureMs: 800,
};

const smallSides = ["tcp", "native", "grown"] as const;
const largeSides = ["native", "grown"] as const;
type Side = (typeof smallSides)[number];
const sideNames: Readonly<Record<Side, string>> = {
  tcp: "plain TCP",
  native: "MPTCP, all paths",
  grown: "MPTCP with the chain",
};

function withChain<T>(lab: Lab, side: Side, measure: () => Promise<T>): Promise<T> {
  if (side !== "grown") return measure();
  const actors = new ActorChain().add(growPaths, { bytes: growBytes, sharingId: rightId });
  const chain = new PolicyChain(new SelectorChain(), actors);
  const { detach } = attachChain(lab, "client", "grow", chain, ["direct"]);
  return measure().finally(detach);
}

/** Subflows that a host asked for since it was made. */
const joins = (lab: Lab) => readMptcpCounters(lab, "client")["MPJoinSynTx"] ?? 0;

interface Small {
  /** By size, in the order of the plan. */
  readonly completionMs: readonly number[];
  readonly joins: number;
  readonly ok: boolean;
}

async function runSmall(lab: Lab, plan: Plan, side: Side): Promise<Small> {
  return await withChain(lab, side, async () => {
    const before = joins(lab);
    const flows = [];
    for (const kilobytes of plan.smallKilobytes) {
      const protocol = side === "tcp" ? "tcp" : "mptcp";
      const responseBytes = 1000 * kilobytes;
      const result = await requestResponse(lab, { link: "direct", protocol, count: 1, responseBytes });
      flows.push(...result.flows);
    }
    return {
      completionMs: flows.map(({ completionMs }) => completionMs),
      joins: joins(lab) - before,
      ok: flows.every(({ ok }) => ok),
    };
  });
}

interface Large {
  readonly mbit: number;
  readonly subflows: number;
  /** The server's addresses of the subflows beyond the first. */
  readonly addresses: readonly string[];
  /** What had been received when the second one was there; undefined when it did not come before the measurement. */
  readonly joinedAtBytes?: number;
  readonly ok: boolean;
}

async function runLarge(lab: Lab, plan: Plan, receiveBufferBytes: number, side: Side): Promise<Large> {
  return await withChain(lab, side, async () => {
    const transfer = await startTransfer(lab, { link: "direct", receiveBufferBytes });
    try {
      const joinedAtBytes = await warmUp(transfer, plan.warmUpMs);
      const [atMs, bytes] = [performance.now(), transfer.receivedBytes];
      await sleep(plan.measureMs);
      const mbit = megabits(transfer.receivedBytes - bytes, performance.now() - atMs);
      const { subflows } = transfer.info();
      lab.check();
      const { ok } = await transfer.stop();
      const addresses = subflows.map(({ local }) => local.address).filter((address) => address.startsWith("10.9."));
      return { mbit, subflows: subflows.length, addresses, ok, ...(joinedAtBytes !== undefined && { joinedAtBytes }) };
    } finally {
      transfer.abort();
    }
  });
}

/** Waits, and says what had been received when there was a second subflow. */
async function warmUp(transfer: Transfer, ms: number): Promise<number | undefined> {
  let joinedAtBytes: number | undefined;
  for (const endMs = performance.now() + ms; performance.now() < endMs; await sleep(10)) {
    if (joinedAtBytes === undefined && transfer.receiverInfo().subflows.length > 1)
      joinedAtBytes = transfer.receivedBytes;
  }
  return joinedAtBytes;
}

type Smalls = Readonly<Record<Side, readonly Small[]>>;
type Larges = Readonly<Record<"native" | "grown", readonly Large[]>>;
/** What the paths through the router carry together: much less than the direct one, and as much. */
const trunksMbit = [2, directMbit] as const;

async function run({ quick: brief, onProgress = () => {} }: ExperimentOptions): Promise<Findings> {
  const plan = brief ? quick : whole;
  await using lab = await createLab(threePaths);
  const smalls: Smalls[] = [];
  for (const trunkMbit of trunksMbit) {
    await lab.setLink("trunk", { rateMbit: trunkMbit });
    smalls.push(
      await inTurn(smallSides, plan.smallRounds, async (side, round) => {
        onProgress(`small flows, trunk ${trunkMbit} Mbit/s, ${sideNames[side]}, round ${round + 1}`);
        return await runSmall(lab, plan, side);
      }),
    );
  }
  const larges: Larges[] = [];
  for (const kilobytes of plan.buffersKilobytes) {
    larges.push(
      await inTurn(largeSides, plan.largeRounds, async (side, round) => {
        const sample = await runLarge(lab, plan, 1000 * kilobytes, side);
        const done = `large flows, receive buffer ${kilobytes} kB, ${sideNames[side]}, round ${round + 1}`;
        onProgress(`${done}: ${sample.mbit.toFixed(1)} Mbit/s`);
        return sample;
      }),
    );
  }
  return findings(plan, smalls, larges);
}

const flowsOf = (samples: readonly Small[]) => samples.flatMap(({ completionMs }) => completionMs);
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const meanChange = (before: readonly Small[], after: readonly Small[]) =>
  changePercent(
    before.map(({ completionMs }) => mean(completionMs)),
    after.map(({ completionMs }) => mean(completionMs)),
  );

function smallSection(plan: Plan, trunkMbit: number, smalls: Smalls): Section {
  const unlike = trunkMbit < directMbit;
  const id = unlike ? "9a" : "9a-alike";
  const gain = meanChange(smalls.native, smalls.grown);
  const toTcp = meanChange(smalls.tcp, smalls.grown);
  const title = `Completion of small flows, other paths of ${trunkMbit} Mbit/s (figure 9a)`;
  const at = (side: Side, size: number) => smalls[side].map(({ completionMs }) => completionMs[size]);
  const best = Math.min(...plan.smallKilobytes.map((_, size) => changePercent(at("native", size), at("grown", size))));
  return {
    id,
    title,
    text: [
      `The mean completion time changes by ${formatChange(gain)} against MPTCP with all paths, and by ${formatChange(toTcp)} against plain TCP, ` +
        `of a single size by ${formatChange(best)} at best. The paper: up to −32.1 % against MPTCP, near TCP.`,
      unlike
        ? "The end of a flow that was given to a slow path arrives last: flows long enough to see a second subflow open pay for it. " +
          "The chain keeps them on the first path. Where MPTCP on one path is slower than TCP, its options made the segments " +
          "smaller, and the flow needs one round trip more."
        : "Where the other paths are as fast as the first, a second one shortens flows that live to use it: the chain gives that up.",
    ],
    table: {
      columns: [
        { title: "flow (kB)", number: true },
        ...smallSides.map((side) => ({ title: `${sideNames[side]} (ms)`, number: true as const })),
        { title: "chain against all paths", number: true },
      ],
      rows: [
        ...plan.smallKilobytes.map((kilobytes, size) => [
          String(kilobytes),
          ...smallSides.map((side) => formatSpread(spreadOf(at(side, size)))),
          formatChange(changePercent(at("native", size), at("grown", size))),
        ]),
        [
          "mean",
          ...smallSides.map((side) => median(smalls[side].map(({ completionMs }) => mean(completionMs))).toFixed(1)),
          formatChange(gain),
        ],
      ],
    },
    plot: {
      kind: "cdf",
      title,
      x: { label: "flow completion time", unit: "ms" },
      series: smallSides.map((side) => ({ name: sideNames[side], values: flowsOf(smalls[side]) })),
    },
  };
}

const mbits = (samples: readonly Large[]) => samples.map(({ mbit }) => mbit);

function largeSection(plan: Plan, larges: readonly Larges[]): Section {
  const title = "Throughput of large flows, two of three paths share a link (figure 9b)";
  const gains = larges.map(({ native, grown }) => changePercent(mbits(native), mbits(grown)));
  return {
    id: "9b",
    title,
    text: [
      `Without the path that shares a link the throughput changes by ${formatChange(median(gains))} at the median of the receive buffers ` +
        `(${gains.map(formatChange).join(", ")}); the paper: +23.1 % on average.`,
      "The third path adds no capacity, but it adds data in flight on a longer way: while its packets are awaited, a receiver with " +
        "little memory has no room for what the other paths bring. With memory enough nothing is lost, and nothing gained.",
    ],
    table: {
      columns: [
        { title: "receive buffer (kB)", number: true },
        { title: "all three paths (Mbit/s)", number: true },
        { title: "two disjoint paths by the chain (Mbit/s)", number: true },
        { title: "gain", number: true },
      ],
      rows: plan.buffersKilobytes.map((kilobytes, i) => [
        String(kilobytes),
        ...largeSides.map((side) => formatSpread(spreadOf(mbits(larges[i][side])))),
        formatChange(gains[i]),
      ]),
    },
    plot: {
      kind: "bars",
      title,
      x: { label: "receive buffer (kB)" },
      y: { label: "goodput", unit: "Mbit/s" },
      groups: plan.buffersKilobytes.map(String),
      series: largeSides.map((side) => ({
        name: sideNames[side],
        bars: larges.map((one) => spreadOf(mbits(one[side]))),
      })),
    },
  };
}

function findings(plan: Plan, smalls: readonly Smalls[], larges: readonly Larges[]): Findings {
  const joinsOf = (side: Side) => smalls.flatMap((one) => one[side].map((sample) => sample.joins));
  const grown = larges.flatMap((one) => one.grown);
  const joinedAt = grown.map(({ joinedAtBytes }) => joinedAtBytes ?? 0);
  const everything = [
    ...smalls.flatMap((one) => smallSides.flatMap((side) => one[side])),
    ...larges.flatMap((one) => largeSides.flatMap((side) => one[side])),
  ];
  return {
    title: "Path management: more paths for larger flows, none that shares a link",
    question:
      "A connection begins on one path; a chain lets it have more when it has received " +
      `${growBytes / 1000} kB, and only one that shares no link with another. What do small flows gain, and large ones?`,
    setup: [
      `three paths: direct (${directMbit} Mbit/s, 20 ms); left (20 ms) and right (60 ms), which share the link trunk (${trunksMbit.join(" or ")} Mbit/s)`,
      "the server announces an address behind left and one behind right; the client joins what it hears of",
      `chain on the client's interface direct: grow_paths { bytes: ${growBytes}, sharingId: ${rightId} } keeps the first address back until then, and the second one for good`,
      `small flows: the client asks, the server answers with ${plan.smallKilobytes.join(", ")} kB, each on a connection of its own, one at a time; ${plan.smallRounds} rounds, sides in turn`,
      `large flows: ${plan.measureMs / 1000} s of a bulk transfer to the client (cubic) after ${plan.warmUpMs / 1000} s, receive buffers of ${plan.buffersKilobytes.join(", ")} kB; ${plan.largeRounds} rounds, sides in turn`,
    ],
    sections: [
      ...trunksMbit.map((trunkMbit, i) => smallSection(plan, trunkMbit, smalls[i])),
      largeSection(plan, larges),
    ],
    checks: [
      {
        what: "with the chain, no small flow asked for a second subflow",
        ok: joinsOf("grown").every((count) => count === 0),
        seen: `${joinsOf("grown").reduce((sum, count) => sum + count, 0)} joins, ${joinsOf("native").reduce((sum, count) => sum + count, 0)} without it`,
      },
      {
        what: "with the chain, large flows had the direct and the left path, and no other",
        ok: grown.every(({ addresses }) => addresses.join() === "10.9.1.1"),
        seen: [...new Set(grown.map(({ addresses }) => ["direct", ...addresses].join(" and ")))].join("; "),
      },
      {
        what: `with the chain, large flows had one path for the first ${growBytes / 1000} kB`,
        ok: joinedAt.every((bytes) => bytes >= growBytes),
        seen: `the second was there after ${Math.round(Math.min(...joinedAt) / 1000)} to ${Math.round(Math.max(...joinedAt) / 1000)} kB`,
      },
      {
        what: "every byte arrived",
        ok: everything.every(({ ok }) => ok),
        seen: `${everything.filter(({ ok }) => ok).length} of ${everything.length} runs whole`,
      },
    ],
    data: { plan, trunksMbit, smalls, larges },
  };
}

export const pathManagement: Experiment = {
  name: "path-management",
  summary: "one path at first, more with the bytes received, none that shares a link",
  run,
};
