/**
 * The comparison of path managers as rows: ours as measured, mptcpd as the baseline. Each number is the median of the rounds',
 * so that a round that was disturbed does not count; what was missed is the sum. Pure.
 */
import { summarizeDelays, type DelaySummary, type JoinDelay } from "../lab/measure/join-delay.ts";
import { median } from "../lab/measure/programs.ts";
import { stormPerSecond, type Comparison, type Measured, type Series } from "./path-managers.ts";
import { rounded, type QuantityRow } from "./report.ts";

type Numbers = (measured: Measured) => number;

const inCalm =
  (of: (series: Series) => number): Numbers =>
  (one) =>
    median(one.calm.map(of));
const inStorm =
  (of: (series: Series) => number): Numbers =>
  (one) =>
    median(one.storm.map(of));

export function pathManagerRows({ mptcpd, managers, eventsPerConnection }: Comparison): QuantityRow[] {
  const { emptcp, mptcpd: theirs, kernel } = managers;
  const row = (name: string, unit: string, digits: number, of: Numbers, who = emptcp): QuantityRow[] => {
    if (!who) return [];
    const [quantity, baseline] = [of(who), theirs ? of(theirs) : null];
    return [
      {
        name,
        unit,
        quantity: rounded(quantity, digits),
        baseline: baseline === null ? null : rounded(baseline, digits),
        ratio: baseline ? rounded(quantity / baseline, 3) : null,
      },
    ];
  };
  const cpuPerEventUs = ({ cpuMs, connections }: Series) => (1000 * cpuMs) / (connections * eventsPerConnection);
  const perSecond = inStorm((series) => series.perSecond);
  const against = "version" in mptcpd ? `, against ${mptcpd.version}` : "";
  const restart = emptcp?.recovery;
  const restarted = "killed and started again";
  return [
    ...row(`join after establishment, median${against}`, "µs", 1, inCalm(established("medianUs"))),
    ...row("join after establishment, p90", "µs", 1, inCalm(established("p90Us"))),
    ...row("join after establishment, p99", "µs", 1, inCalm(established("p99Us"))),
    ...row("join after the kernel told of it, median", "µs", 1, inCalm(told("medianUs"))),
    ...row("join after establishment, by the kernel, median", "µs", 1, inCalm(established("medianUs")), kernel),
    ...row("CPU per event", "µs", 1, inCalm(cpuPerEventUs)),
    ...row(`connections a second, of ${stormPerSecond} wanted`, "/s", 0, perSecond),
    ...row("connections a second, under the kernel", "/s", 0, perSecond, kernel),
    ...row(`missed, of ${emptcp && sum(emptcp.storm.map(({ connections }) => connections))}`, "", 0, ({ storm: all }) =>
      sum(all.map(({ missed }) => missed)),
    ),
    ...row("join after establishment at that rate, median", "µs", 1, inStorm(established("medianUs"))),
    ...row("join after establishment at that rate, p99", "µs", 1, inStorm(established("p99Us"))),
    ...row("CPU per event at that rate", "µs", 1, inStorm(cpuPerEventUs)),
    ...row("memory, resident", "MiB", 1, ({ memory }) => median(memory.map((one) => one.residentMiB))),
    ...row("memory, shared pages in part", "MiB", 1, ({ memory }) => median(memory.map((one) => one.proportionalMiB))),
    ...row("asleep: CPU in a second", "ms", 3, ({ asleep }) => asleep?.cpuMsPerSecond ?? NaN),
    ...row("asleep: wake-ups in a second", "", 1, ({ asleep }) => asleep?.sleepsPerSecond ?? NaN),
    ...(restart
      ? [
          ...row(`${restarted}: first join after`, "ms", 0, (one) => one.recovery!.atWorkMs),
          ...row(`${restarted}: joins of ${restart.begun} begun meanwhile`, "", 0, (one) => one.recovery!.joined),
          ...row(`${restarted}: of ${restart.begun} from before, unharmed`, "", 0, (one) => one.recovery!.kept),
        ]
      : []),
  ];
}

const established = (which: keyof DelaySummary) => (series: Series) =>
  summary(series, ({ sinceEstablishedUs }) => sinceEstablishedUs, which);

const told = (which: keyof DelaySummary) => (series: Series) =>
  summary(series, ({ sinceAcknowledgedUs }) => sinceAcknowledgedUs, which);

/** Not a number where nothing was joined at all. */
function summary({ delays }: Series, of: (delay: JoinDelay) => number | undefined, which: keyof DelaySummary): number {
  const values = delays.map(of).filter((value) => value !== undefined);
  return values.length === 0 ? NaN : summarizeDelays(values)[which];
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
