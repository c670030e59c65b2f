/** Runs the demo's stages on a lab of its own, and leaves nothing behind. */
import { createLab, requireTools, wifiAndLte } from "../../lab/index.ts";
import { requireFeatures, type FeatureId } from "../../linux/index.ts";
import { runUrgently } from "../../linux/scheduling.ts";
import { undoAtExit } from "../cleanup.ts";
import type { Goodput } from "./paths.ts";
import { Session } from "./session.ts";
import { makeStages, type Outcome, type Stage } from "./stages.ts";

const capabilities: readonly FeatureId[] = ["capBpf", "capNetAdmin", "capPerfmon", "capSysAdmin"];
const needed: readonly FeatureId[] = [
  "bpf",
  "bpffs",
  "btf",
  "tcx",
  "sockOps",
  "tcpIterator",
  "mptcp",
  "mptcpPathManager",
  "congestionControl",
  "cubicFunctions",
  "readonlyCast",
  "socketStorage",
];

export interface StageResult extends Outcome {
  readonly name: string;
  readonly asked: string;
}

export interface DemoObserver {
  onStage(stage: Stage, number: number, count: number): void;
  onSample(now: Goodput): void;
  onResult(result: StageResult, seconds: number): void;
}

/**
 * @returns what each stage showed; a stage that could not be finished is the last one
 * @throws MissingFeaturesError, or Error when tools are missing
 */
export async function runDemo(observer: DemoObserver): Promise<StageResult[]> {
  // First, because without them the kernel refuses the other probes too.
  requireFeatures(capabilities);
  requireFeatures(needed);
  requireTools();
  let session: Session | undefined;
  // Before the lab registers itself, so that chains go while their namespaces are still there.
  const removeAll = undoAtExit(() => session?.removeAll());
  const calmDown = runUrgently();
  const results: StageResult[] = [];
  try {
    await using lab = await createLab(wifiAndLte);
    session = new Session(lab, (now) => observer.onSample(now));
    try {
      const stages = makeStages();
      for (const [index, stage] of stages.entries()) {
        observer.onStage(stage, index + 1, stages.length);
        const started = performance.now();
        const outcome = await runStage(stage, session);
        const result = { name: stage.name, asked: stage.asked, measured: outcome.measured, ok: outcome.ok };
        results.push(result);
        observer.onResult(result, (performance.now() - started) / 1000);
        if (outcome.error) break;
      }
    } finally {
      session.removeAll();
    }
  } finally {
    calmDown();
    removeAll();
  }
  return results;
}

/** A stage that breaks has not held; the ones behind it stand on it. */
async function runStage(stage: Stage, session: Session): Promise<Outcome & { error?: true }> {
  try {
    return await stage.run(session);
  } catch (error) {
    if (process.env["EMPTCP_DEBUG"]) console.error(error);
    return { measured: `failed: ${error instanceof Error ? error.message : String(error)}`, ok: false, error: true };
  }
}
