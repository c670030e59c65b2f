/**
 * Section 4.4 of the SMAPP paper (002, figure 2c): routers spread flows over four paths by a hash, and hosts cannot know by which
 * one a subflow will go. Five subflows that stay what they are, against five of which the slowest is replaced again and again.
 */
import { createLab } from "../lab.ts";
import type { Experiment, ExperimentOptions, Findings } from "./experiment.ts";
import { placeOf, together } from "./load-balancing/place.ts";
import { findings, type Plan, type Results } from "./load-balancing/report.ts";
import { send } from "./load-balancing/send.ts";
import { controllerOf, sideNames, sides } from "./load-balancing/sides.ts";

const whole: Plan = { megabytes: 100 * 1.048576, runs: 20, places: 4, periodMs: 2500 };
const quick: Plan = { megabytes: 4, runs: 1, places: 1, periodMs: 250 };

/** Transfers take long and little of the machine: some run at the same time, each at a place of its own. */
async function run({ quick: brief, onProgress = () => {} }: ExperimentOptions): Promise<Findings> {
  const plan = brief ? quick : whole;
  const places = Array.from({ length: plan.places }, (_, index) => placeOf(index));
  await using lab = await createLab(together(places));
  const results: Results = { ndiffports: [], "at-once": [], refresh: [] };
  // Sides in turn: what drifts meanwhile favours none of them.
  const waiting = Array.from({ length: plan.runs }, () => sides).flat();
  let done = 0;
  await Promise.all(
    places.map(async (place) => {
      for (let side = waiting.shift(); side !== undefined; side = waiting.shift()) {
        const sent = await send(lab, place, controllerOf(side, plan.periodMs), Math.round(1e6 * plan.megabytes));
        results[side].push(sent);
        onProgress(
          `${++done} of ${plan.runs * sides.length}: ${sideNames[side]}, ${sent.seconds.toFixed(1)} s, ` +
            `data on ${sent.busyPaths.toFixed(1)} paths at a time`,
        );
      }
    }),
  );
  return findings(plan, results);
}

export const loadBalancing: Experiment = {
  name: "load-balancing",
  summary: "subflows that routers spread over four paths, left alone or replaced when they are slow",
  run,
};
