/** What every experiment is, and what they share: sides measured in turn, chains that go with the lab, numbers for people. */
import { cpus, release } from "node:os";
import type { PolicyChain, RunningChain } from "../../chain/index.ts";
import type { Lab } from "../lab.ts";
import { median } from "../measure/programs.ts";
import { runQuiet, watchSteal } from "../measure/steal.ts";
import type { Report } from "../report/report.ts";

export interface ExperimentOptions {
  /** Fewer and shorter runs: whether everything works, not what it is worth. */
  readonly quick?: boolean;
  /** What is done at the moment, in a line. */
  readonly onProgress?: (text: string) => void;
}

export type Findings = Omit<Report, "machine" | "startedAt" | "elapsedSeconds" | "repeat">;

export interface Experiment {
  readonly name: string;
  readonly summary: string;
  readonly run: (options: ExperimentOptions) => Promise<Findings>;
}

/** Runs an experiment and says where, when and how long. @throws Error when the machine lacks what it needs */
export async function runExperiment(experiment: Experiment, options: ExperimentOptions = {}): Promise<Report> {
  const startedAt = new Date();
  const stolen = watchSteal();
  const findings = await experiment.run(options);
  return {
    ...findings,
    machine: [
      `Linux ${release()}, ${cpus().length} processors (${cpus()[0]?.model.trim() ?? "unknown"})`,
      `${stolen().toFixed(1)} % of their time went to other machines meanwhile`,
    ],
    repeat: `sudo emptcp lab run ${experiment.name}${options.quick ? " --quick" : ""} --report`,
    startedAt: startedAt.toISOString(),
    elapsedSeconds: (Date.now() - startedAt.getTime()) / 1000,
  };
}

/**
 * Measures every side once per round, in an order that turns with the rounds: what drifts meanwhile favours none of them. A
 * measurement that stolen time disturbed is made once more.
 */
export async function inTurn<Side extends string, T>(
  sides: readonly Side[],
  rounds: number,
  measure: (side: Side, round: number) => Promise<T>,
): Promise<Readonly<Record<Side, readonly T[]>>> {
  const results = Object.fromEntries(sides.map((side) => [side, [] as T[]])) as Record<Side, T[]>;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < sides.length; i++) {
      const side = sides[(i + round) % sides.length];
      const { value } = await runQuiet(() => measure(side, round), { attempts: 2 });
      results[side].push(value);
    }
  }
  return results;
}

/** Attaches a chain to interfaces of a host. It goes when `detach` is called, or with the lab, however that ends. */
export function attachChain(
  lab: Lab,
  host: string,
  title: string,
  chain: PolicyChain,
  interfaces: readonly string[],
): { readonly running: RunningChain; readonly detach: () => void } {
  const name = `lab-${lab.runId}-${title}`;
  const running = chain.with({ name, netns: lab.host(host).netns, interfaces }).submit();
  const forget = lab.whenClosed(() => running.remove());
  return {
    running,
    detach: () => {
      forget();
      running.remove();
    },
  };
}

/** What several measurements of one thing gave. */
export interface Spread {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Median, least and greatest. @throws RangeError of nothing */
export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError("Cannot take the median of nothing");
  return { value: median(values), low: Math.min(...values), high: Math.max(...values) };
}

/** The median of what each round's two sides give, in percent: rounds differ more than the sides of a round do. */
export function changePercent(before: readonly number[], after: readonly number[]): number {
  return median(before.map((value, round) => 100 * (after[round] / value - 1)));
}

/** `+23.1 %`, `−32.1 %`. */
export function formatChange(percent: number): string {
  return `${percent < 0 ? "−" : "+"}${Math.abs(percent).toFixed(1)} %`;
}

/** `46.9 (46.1–47.2)`. */
export function formatSpread({ value, low, high }: Spread, digits = 1): string {
  const one = (number: number) => number.toFixed(digits);
  return low === high ? one(value) : `${one(value)} (${one(low)}–${one(high)})`;
}
