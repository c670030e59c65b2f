/** Time that the hypervisor gave to others: a measurement during which much of it was stolen says little. */
import { readFileSync } from "node:fs";

type Ticks = { readonly total: number; readonly stolen: number };

/** The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal (guest time is in user). */
export function parseCpuTicks(stat: string): Ticks {
  const ticks = (/^cpu\s+(.*)$/m.exec(stat)?.[1] ?? "").split(" ").slice(0, 8).map(Number);
  return { total: ticks.reduce((sum, value) => sum + value, 0), stolen: ticks[7] ?? 0 };
}

/** Starts to watch; the function returned tells the share stolen since, in percent. */
export function watchSteal(): () => number {
  const before = parseCpuTicks(readFileSync("/proc/stat", "utf8"));
  return () => {
    const after = parseCpuTicks(readFileSync("/proc/stat", "utf8"));
    const total = after.total - before.total;
    return total > 0 ? (100 * (after.stolen - before.stolen)) / total : 0;
  };
}

export type QuietRun<T> = {
  readonly value: T;
  readonly stealPercent: number;
  readonly attempts: number;
  /** Whether it stayed under the limit. */
  readonly quiet: boolean;
};

/**
 * Measures until a run stays under `maxStealPercent` (2) or `attempts` (4) runs were made; then the least disturbed one counts.
 */
export async function runQuiet<T>(
  measure: () => Promise<T>,
  options: { maxStealPercent?: number; attempts?: number; steal?: () => () => number } = {},
): Promise<QuietRun<T>> {
  const { maxStealPercent = 2, attempts = 4, steal = watchSteal } = options;
  let best: { value: T; stealPercent: number } | undefined;
  for (let attempt = 1; ; attempt++) {
    const stolen = steal();
    const value = await measure();
    const stealPercent = stolen();
    if (best === undefined || stealPercent < best.stealPercent) best = { value, stealPercent };
    const quiet = stealPercent <= maxStealPercent;
    if (quiet || attempt >= attempts) return { ...best, attempts: attempt, quiet };
  }
}
