/** Section 4.2 of the SMAPP paper (figure 2a): what becomes of an upload when its path goes bad, and a backup is there. */
import type { Experiment, ExperimentOptions, Findings } from "./experiment.ts";
import { findings, sideNames, summarize, type BackupResults } from "./smart/backup-report.ts";
import { runBackup, sides, type BackupPlan, type BackupRun, type Side } from "./smart/backup-run.ts";

const whole: BackupPlan = { lossPercent: 30, beforeMs: 1000, afterMs: 15_000, rounds: 8 };
/** A path so bad that it is left soon. */
const quick: BackupPlan = { lossPercent: 90, beforeMs: 500, afterMs: 3000, rounds: 1 };

async function run({ quick: brief, onProgress = () => {} }: ExperimentOptions): Promise<Findings> {
  const plan = brief ? quick : whole;
  const results = Object.fromEntries(sides.map((side) => [side, [] as BackupRun[]])) as Record<Side, BackupRun[]>;
  for (let round = 0; round < plan.rounds; round++) {
    // Slow links: the sides do not get into each other's way.
    await Promise.all(
      sides.map(async (side) => {
        const one = await runBackup(plan, side);
        const { deliveredBytes } = summarize(plan, one);
        onProgress(
          `${sideNames[side]}, round ${round + 1} of ${plan.rounds}: ${(deliveredBytes / 1e6).toFixed(1)} MB delivered`,
        );
        results[side].push(one);
      }),
    );
  }
  return findings(plan, results satisfies BackupResults);
}

export const smartBackup: Experiment = {
  name: "smart-backup",
  summary: "a path goes bad under an upload: a backup in the kernel, and one that is made when it is needed",
  run,
};
