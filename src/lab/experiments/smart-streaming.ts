/** Section 4.3 of the SMAPP paper (figure 2b): blocks that are due within a second, over a path that loses packets. */
import type { Experiment, ExperimentOptions, Findings } from "./experiment.ts";
import { findings, sideNames } from "./smart/streaming-report.ts";
import { runStreams, sides, type Side, type Stream, type StreamingPlan } from "./smart/streaming-run.ts";

const whole: StreamingPlan = { lossPercents: [10, 20, 30, 40], goodBlocks: 2, badBlocks: 25, connections: 5 };
const quick: StreamingPlan = { lossPercents: [10], goodBlocks: 1, badBlocks: 4, connections: 1 };

async function run({ quick: brief, onProgress = () => {} }: ExperimentOptions): Promise<Findings> {
  const plan = brief ? quick : whole;
  onProgress(`connections for each loss and side: ${plan.connections}, of ${plan.goodBlocks + plan.badBlocks} s`);
  const runs = async (side: Side): Promise<Stream[][]> =>
    await Promise.all(
      // Half a megabit each: they do not get into each other's way.
      plan.lossPercents.map((lossPercent) =>
        runStreams(plan, side, lossPercent, ({ badMs }) =>
          onProgress(
            `${sideNames[side]}, ${lossPercent} % loss: the latest block took ${Math.max(...badMs).toFixed(0)} ms`,
          ),
        ),
      ),
    );
  const [kernel, controller] = await Promise.all(sides.map(runs));
  return findings(plan, { kernel, controller });
}

export const smartStreaming: Experiment = {
  name: "smart-streaming",
  summary: "blocks due within a second over a lossy path: subflows on all paths, and subflows when blocks are late",
  run,
};
