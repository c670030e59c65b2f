/** Timing by BPF_PROG_TEST_RUN: many short rounds, the two sides in turn, disturbed rounds left out, medians. */
import { testRun, type KernelProgram } from "../../linux/programs.ts";
import { watchSteal } from "./steal.ts";

const wholeRepeats = 1_000_000;
const wholeRounds = 9;
/** Percent of the machine's time that others may have taken during a round. */
const stealLimit = 2;

export interface Timing {
  /** Median ns per packet of each side. */
  readonly nsPerPacket: readonly number[];
  /** Rounds left out because others took the processor's time. */
  readonly disturbed: number;
}

/**
 * Runs each program in turn on `packet`, `repeats` times (a million) in each of `rounds` (9) rounds. Up to three times as
 * many rounds are tried before disturbed ones count too.
 */
export function timePrograms(
  programs: readonly KernelProgram[],
  packet: Uint8Array,
  {
    repeats = wholeRepeats,
    rounds: wanted = wholeRounds,
  }: { readonly repeats?: number; readonly rounds?: number } = {},
): Timing {
  for (const program of programs) timeOnce(program, packet, Math.ceil(repeats / 10));
  const quiet: number[][] = [];
  const disturbed: number[][] = [];
  while (quiet.length < wanted && quiet.length + disturbed.length < 3 * wanted) {
    const stolen = watchSteal();
    const round = programs.map((program) => timeOnce(program, packet, repeats));
    (stolen() > stealLimit ? disturbed : quiet).push(round);
  }
  const rounds = quiet.length >= Math.min(3, wanted) ? quiet : [...quiet, ...disturbed];
  return {
    nsPerPacket: programs.map((_, i) => median(rounds.map((round) => round[i]))),
    disturbed: disturbed.length,
  };
}

/** The kernel tells whole nanoseconds, rounded down; the clock here tells the rest unless the process was interrupted. */
function timeOnce(program: KernelProgram, data: Uint8Array, repeat: number): number {
  const start = process.hrtime.bigint();
  const { durationNs } = testRun(program, { data, repeat });
  const elapsed = Number(process.hrtime.bigint() - start) / repeat;
  return elapsed >= durationNs && elapsed < durationNs + 1 ? elapsed : durationNs + 0.5;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
