/** What the experiment `join-delay` found, as tables, plots and checks. */
import { cpus } from "node:os";
import {
  summarizeDelays,
  type DelaySummary,
  type JoinDelay,
  type MeasuredJoinDelays,
} from "../../measure/join-delay.ts";
import { median } from "../../measure/programs.ts";
import type { Report, Section } from "../../report/report.ts";
import type { Findings } from "../experiment.ts";

export const sides = ["kernel", "userspace", "urgent"] as const;
export type Side = (typeof sides)[number];
const loads = ["idle", "busy"] as const;
export type Load = (typeof loads)[number];

export interface Plan {
  readonly rounds: number;
  /** Of each side and round. */
  readonly connections: number;
  /** Before them, not measured. */
  readonly warmUp: number;
  readonly responseBytes: number;
  readonly holdMs: number;
}

/** Of each round. */
export type Results = Readonly<Record<Load, Readonly<Record<Side, readonly MeasuredJoinDelays[]>>>>;

const sideNames: Readonly<Record<Side, string>> = {
  kernel: "in the kernel",
  userspace: "in user space",
  urgent: "in user space, urgent",
};
const loadNames: Readonly<Record<Load, string>> = { idle: "idle", busy: "every processor busy" };

type Since = (delay: JoinDelay) => number | undefined;
const sinceSyn: Since = (delay) => delay.sinceSynUs;
const sinceEstablished: Since = (delay) => delay.sinceEstablishedUs;
const sinceAcknowledged: Since = (delay) => delay.sinceAcknowledgedUs;

const valuesOf = (rounds: readonly MeasuredJoinDelays[], since: Since) =>
  rounds.flatMap(({ delays }) => delays.map(since)).filter((value) => value !== undefined);

const signed = (us: number) => `${us < 0 ? "−" : "+"}${Math.abs(us).toFixed(0)} µs`;

/** By how much a side is later than the kernel: the median of what the rounds give, and on average of all connections. */
function differences(results: Results, load: Load, side: Side, since: Since) {
  const { kernel, [side]: userspace } = results[load];
  const of = (round: MeasuredJoinDelays) => summarizeDelays(valuesOf([round], since)).medianUs;
  const all = (rounds: readonly MeasuredJoinDelays[]) => summarizeDelays(valuesOf(rounds, since)).meanUs;
  return {
    medianUs: median(kernel.map((round, i) => of(userspace[i]) - of(round))),
    meanUs: all(userspace) - all(kernel),
  };
}

const columns = ["median", "mean", "90 %", "99 %"].map((title) => ({ title: `${title} (µs)`, number: true as const }));
const cells = ({ medianUs, meanUs, p90Us, p99Us }: DelaySummary) =>
  [medianUs, meanUs, p90Us, p99Us].map((value) => value.toFixed(0));

function delaySection(results: Results, load: Load, id: string): Section {
  const title = `From the first SYN to that of the second subflow, ${loadNames[load]} (figure 3)`;
  const paper = { idle: "the paper: 23 µs on average", busy: "the paper: less than 37 µs" }[load];
  const ordinary = differences(results, load, "userspace", sinceSyn);
  const urgent = differences(results, load, "urgent", sinceSyn);
  return {
    id,
    title,
    text: [
      `A controller in user space takes ${signed(ordinary.medianUs)} at the median, ${signed(ordinary.meanUs)} on average (${paper}); ` +
        `an urgent one ${signed(urgent.medianUs)} and ${signed(urgent.meanUs)}.`,
      {
        idle:
          "Both wait for the same: the connection is fully established for its client when the server has acknowledged the request. " +
          "Then the kernel's path manager is put into a work queue, and user space is sent an event; both have to be woken.",
        busy:
          "Whoever is to open the subflow, a kernel thread or a process, shares a processor with one that never sleeps, and waits for its " +
          "turn; so do client and server. An urgent process (real-time priority, `emptcp paths run --urgent`) does not wait.",
      }[load],
    ],
    table: {
      columns: [{ title: "path manager" }, ...columns],
      rows: sides.map((side) => [sideNames[side], ...cells(summarizeDelays(valuesOf(results[load][side], sinceSyn)))]),
    },
    plot: {
      kind: "cdf",
      title,
      x: { label: "delay", unit: "µs", log: true },
      series: sides.map((side) => ({ name: sideNames[side], values: valuesOf(results[load][side], sinceSyn) })),
    },
  };
}

function partsSection(results: Results): Section {
  const title = "The path manager's own share";
  const { medianUs, meanUs } = differences(results, "idle", "userspace", sinceAcknowledged);
  const parts = {
    "the last packet of the handshake": sinceEstablished,
    "the server's acknowledgment": sinceAcknowledged,
  };
  return {
    id: "3-share",
    title,
    text: [
      `From the packet on which both act, user space adds ${signed(medianUs)} at the median, ${signed(meanUs)} on average, when idle: an ` +
        "event over netlink, a process that wakes, a handler, a command, and the look-up of the connection by its token.",
    ],
    table: {
      columns: [{ title: "machine" }, { title: "since" }, { title: "path manager" }, ...columns],
      rows: loads.flatMap((load) =>
        Object.entries(parts).flatMap(([name, since]) =>
          sides.map((side) => [
            loadNames[load],
            name,
            sideNames[side],
            ...cells(summarizeDelays(valuesOf(results[load][side], since))),
          ]),
        ),
      ),
    },
    plot: {
      kind: "cdf",
      title,
      x: { label: "delay since the server's acknowledgment", unit: "µs", log: true },
      series: loads.flatMap((load) =>
        sides.map((side) => ({
          name: `${sideNames[side]}, ${load}`,
          values: valuesOf(results[load][side], sinceAcknowledged),
        })),
      ),
    },
  };
}

function checksOf(plan: Plan, results: Results): Report["checks"] {
  const all = loads.flatMap((load) => sides.flatMap((side) => results[load][side].map((one) => ({ load, side, one }))));
  const expected = plan.rounds * plan.connections;
  const complete = loads.map((load) => {
    const seen = sides.map((side) => {
      const rounds = results[load][side];
      return { side, joined: rounds.reduce((sum, { delays }) => sum + delays.length, 0) };
    });
    return {
      what: `${loadNames[load]}: every connection got its second subflow, from either path manager`,
      ok: seen.every(({ joined }) => joined === expected),
      seen: seen.map(({ side, joined }) => `${sideNames[side]} ${joined} of ${expected}`).join(", "),
    };
  });
  const delays = all.flatMap(({ one }) => one.delays);
  const inOrder = delays.filter(
    (one) => one.sinceSynUs > one.sinceEstablishedUs && one.sinceEstablishedUs > (one.sinceAcknowledgedUs ?? Infinity),
  );
  return [
    ...complete,
    {
      what: "second subflows began after the server had acknowledged the request",
      ok: inOrder.length === delays.length,
      seen: `${inOrder.length} of ${delays.length}`,
    },
    {
      what: "every packet that counts was recorded, and every answer arrived whole",
      ok: all.every(({ one }) => one.droppedPackets === 0 && one.answered === plan.warmUp + plan.connections),
      seen: `${all.reduce((sum, { one }) => sum + one.answered, 0)} answers, ${all.reduce((sum, { one }) => sum + one.droppedPackets, 0)} packets lost`,
    },
  ];
}

export function findings(plan: Plan, results: Results): Findings {
  return {
    title: "Second subflows: by the kernel, or by a controller in user space",
    question: "How much later does a second subflow begin when a process decides about it instead of the kernel?",
    setup: [
      "a client with two addresses and a server, joined by links without delay or limit; both hosts, and what watches them, share this machine's " +
        `${cpus().length} processors`,
      `${plan.rounds} rounds of ${plan.connections} connections, one after the other, on each side: a request, an answer of ${plan.responseBytes / 1024} KiB (the paper: 512), ${plan.holdMs} ms, close, 2 ms`,
      "in the kernel: an endpoint `subflow` on the second address; in user space: a controller in a Node process of its own, whose handler " +
        "of `established` calls createSubflow() from that address; both connect to the address the first subflow has; urgent: that process at real-time priority",
      `${plan.warmUp} connections before each round are not counted; sides in turn`,
      "busy: a process on each processor that never sleeps, with the same priority as all others",
      "times are the kernel's, of packets at the client's interface",
    ],
    sections: [delaySection(results, "idle", "3"), delaySection(results, "busy", "3-busy"), partsSection(results)],
    checks: checksOf(plan, results),
    data: { plan, results },
  };
}
