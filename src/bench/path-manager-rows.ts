/** The comparison of path managers as rows: ours as measured, mptcpd as the baseline. Pure. */
import { summarizeDelays, type DelaySummary, type JoinDelay } from "../lab/measure/join-delay.ts";
import { median } from "../lab/measure/programs.ts";
import { stormPerSecond, type Comparison, type Measured } from "./path-managers.ts";
import { rounded, type QuantityRow } from "./report.ts";

type Numbers = (measured: Measured) => number;

export function pathManagerRows({ mptcpd, managers, eventsPerConnection }: Comparison): QuantityRow[] {
  const { emptcp, mptcpd: theirs, kernel } = managers;
  const row = (name: string, unit: string, digits: number, of: Numbers, who = emptcp): QuantityRow[] => {
    if (!who) return [];
    const [quantity, baseline] = [who, theirs].map((one) => (one ? of(one) : null));
    return [
      {
        name,
        unit,
        quantity: rounded(quantity!, digits),
        baseline: baseline === null ? null : rounded(baseline, digits),
        ratio: baseline ? rounded(quantity! / baseline, 3) : null,
      },
    ];
  };
  const cpuPerEventUs = (kind: "calm" | "storm") => (one: Measured) =>
    (1000 * one[kind].cpuMs) / (one[kind].connections * eventsPerConnection);
  const restart = emptcp?.recovery;
  const against = "version" in mptcpd ? `, against ${mptcpd.version}` : "";
  return [
    ...row(`join after establishment${against}, median`, "µs", 1, sinceEstablished("calm", "medianUs")),
    ...row("join after establishment, p90", "µs", 1, sinceEstablished("calm", "p90Us")),
    ...row("join after establishment, p99", "µs", 1, sinceEstablished("calm", "p99Us")),
    ...row("join after the kernel told of it, median", "µs", 1, sinceTold),
    ...row(
      "join after establishment by the kernel itself, median",
      "µs",
      1,
      sinceEstablished("calm", "medianUs"),
      kernel,
    ),
    ...row("CPU per event, one connection after the other", "µs", 1, cpuPerEventUs("calm")),
    ...row(`connections a second, of ${stormPerSecond} wanted`, "/s", 0, (one) => median(one.storm.perSecond)),
    ...row(
      "connections a second, under the kernel's own path manager",
      "/s",
      0,
      (one) => median(one.storm.perSecond),
      kernel,
    ),
    ...row(`missed, of ${emptcp?.storm.connections} connections`, "", 0, (one) => one.storm.missed),
    ...row("join after establishment at that rate, median", "µs", 1, sinceEstablished("storm", "medianUs")),
    ...row("join after establishment at that rate, p99", "µs", 1, sinceEstablished("storm", "p99Us")),
    ...row("CPU per event at that rate", "µs", 1, cpuPerEventUs("storm")),
    ...row("memory, resident", "MiB", 1, (one) => median(one.memory.map(({ residentMiB }) => residentMiB))),
    ...row("memory, shared pages by their share", "MiB", 1, (one) =>
      median(one.memory.map(({ proportionalMiB }) => proportionalMiB)),
    ),
    ...row("asleep: CPU in a second", "ms", 3, ({ asleep }) => asleep.cpuMs / asleep.seconds),
    ...row("asleep: wake-ups in a second", "/s", 2, ({ asleep }) => asleep.sleeps / asleep.seconds),
    ...(restart
      ? [
          ...row("killed and started: until the first join", "ms", 0, ({ recovery }) => recovery!.atWorkMs),
          ...row(
            `killed and started: joins of ${restart.begun} connections begun meanwhile`,
            "",
            0,
            ({ recovery }) => recovery!.joined,
          ),
          ...row(
            `killed and started: of ${restart.begun} connections from before, as they were`,
            "",
            0,
            ({ recovery }) => recovery!.kept,
          ),
        ]
      : []),
  ];
}

function sinceEstablished(kind: "calm" | "storm", which: keyof DelaySummary): Numbers {
  return (one) => summary(one[kind].delays, ({ sinceEstablishedUs }) => [sinceEstablishedUs])[which];
}

const sinceTold: Numbers = ({ calm }) =>
  summary(calm.delays, ({ sinceAcknowledgedUs }) => (sinceAcknowledgedUs === undefined ? [] : [sinceAcknowledgedUs]))
    .medianUs;

const summary = (delays: readonly JoinDelay[], of: (delay: JoinDelay) => number[]): DelaySummary =>
  summarizeDelays(delays.flatMap(of));
