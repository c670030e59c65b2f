/**
 * Figure 3 of the paper on subflow controllers: how long connections wait for their second subflow, when the kernel makes it and
 * when a controller does, which runs in a process of its own, as urgent as others or more; on an idle machine and on a busy one.
 */
import { spawn } from "node:child_process";
import { cpus } from "node:os";
import { createLab, type Lab } from "../lab.ts";
import {
  joinDelayLab,
  measureJoinDelays,
  secondAddress,
  startPathManager,
  type MeasuredJoinDelays,
  type PathManagerChoice,
} from "../measure/join-delay.ts";
import { runnableModule } from "../runnable.ts";
import { inTurn, type Experiment, type ExperimentOptions, type Findings } from "./experiment.ts";
import { findings, sides, type Load, type Plan, type Results, type Side } from "./join-delay/report.ts";

const controllers = [{ name: "subflowFrom", options: { address: secondAddress } }] as const;
const managers: Readonly<Record<Side, PathManagerChoice>> = {
  kernel: { kind: "kernel", addresses: [secondAddress] },
  userspace: { kind: "controllers", controllers },
  urgent: { kind: "controllers", controllers, urgent: true },
};

const whole: Plan = { rounds: 5, connections: 200, warmUp: 50, responseBytes: 32 << 10, holdMs: 10 };
const quick: Plan = { rounds: 1, connections: 20, warmUp: 5, responseBytes: 32 << 10, holdMs: 5 };

async function measure(lab: Lab, plan: Plan, side: Side): Promise<MeasuredJoinDelays> {
  const { warmUp, connections: count, responseBytes, holdMs } = plan;
  const manager = await startPathManager(lab, "client", managers[side]);
  try {
    const measured = await measureJoinDelays(lab, { count, warmUp, responseBytes, holdMs });
    manager.check();
    return measured;
  } finally {
    await manager.stop();
  }
}

/** Longer than anything that is measured meanwhile. */
const busySeconds = 600;

/** A process on each processor that never sleeps. Returns a function that ends them. */
function keepBusy(lab: Lab): () => void {
  const entry = runnableModule("lab/workload/busy-processor.ts");
  const children = cpus().map((_, processor) =>
    spawn(process.execPath, [entry, String(processor), String(busySeconds)], { stdio: "ignore", env: {} }),
  );
  const end = () => children.forEach((child) => child.kill("SIGKILL"));
  const forget = lab.whenClosed(end);
  return () => {
    forget();
    end();
  };
}

async function run({ quick: brief, onProgress = () => {} }: ExperimentOptions): Promise<Findings> {
  const plan = brief ? quick : whole;
  await using lab = await createLab(joinDelayLab);
  const underLoad = async (load: Load) => {
    const stop = load === "busy" ? keepBusy(lab) : () => {};
    try {
      return await inTurn(sides, plan.rounds, async (side, round) => {
        onProgress(`${side}, ${load}, round ${round + 1} of ${plan.rounds}`);
        return await measure(lab, plan, side);
      });
    } finally {
      stop();
    }
  };
  const results: Results = { idle: await underLoad("idle"), busy: await underLoad("busy") };
  return findings(plan, results);
}

export const joinDelay: Experiment = {
  name: "join-delay",
  summary: "what it costs that a controller, not the kernel, opens second subflows",
  run,
};
