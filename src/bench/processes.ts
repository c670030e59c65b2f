/** What a process costs while it runs, as the kernel accounts for it in /proc. */
import { readdirSync, readFileSync } from "node:fs";

export interface ProcessCost {
  /** Of all threads, in user space and in the kernel. */
  readonly cpuMs: number;
  /** How often threads slept of their own accord, and so were woken. */
  readonly sleeps: number;
}

export interface ProcessMemory {
  readonly residentMiB: number;
  /** The same, with a page that n processes share counted as 1/n. */
  readonly proportionalMiB: number;
}

/** Of threads that are there now. @throws Error when there is no such process */
export function costOf(pid: number): ProcessCost {
  const tasks = readdirSync(`/proc/${pid}/task`).map((thread) => `/proc/${pid}/task/${thread}`);
  const read = (file: string) => tasks.map((task) => readFileSync(`${task}/${file}`, "utf8"));
  return {
    cpuMs: sum(read("schedstat").map(parseCpuMs)),
    sleeps: sum(read("status").map(parseSleeps)),
  };
}

/** @throws Error when there is no such process */
export function memoryOf(pid: number): ProcessMemory {
  return parseMemory(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
}

/** /proc/…/schedstat: nanoseconds on a processor, nanoseconds waiting for one, time slices. */
export function parseCpuMs(schedstat: string): number {
  return Number(schedstat.split(" ")[0]) / 1e6;
}

/** /proc/…/status */
export function parseSleeps(status: string): number {
  return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1] ?? 0);
}

/** /proc/…/smaps_rollup */
export function parseMemory(rollup: string): ProcessMemory {
  const mebibytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1] ?? 0) / 1024;
  return { residentMiB: mebibytes("Rss"), proportionalMiB: mebibytes("Pss") };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
