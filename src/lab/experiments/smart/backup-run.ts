/** One upload whose first path goes bad: who sent what by which interface, and what arrived when. */
import { setTimeout as sleep } from "node:timers/promises";
import { backup } from "../../../paths/index.ts";
import { createLab, type Lab } from "../../lab.ts";
import { watchSegments, type SeenSegment } from "../../measure/segments.ts";
import { startTransfer } from "../../workload/transfer.ts";
import { addEndpoint, first, phone, second, serverAddress, withController } from "./place.ts";

/** When `backup` gives a path up; undefined: the kernel alone decides. */
export const thresholdsMs = { kernel: undefined, patient: 1000, eager: 500 } as const;
export type Side = keyof typeof thresholdsMs;
export const sides = Object.keys(thresholdsMs) as Side[];

export interface BackupPlan {
  /** What the first path loses, each way. */
  readonly lossPercent: number;
  readonly beforeMs: number;
  readonly afterMs: number;
  readonly rounds: number;
}

/** Times are in ms since the connection was opened. */
export interface BackupRun {
  readonly lossAtMs: number;
  readonly segments: readonly SeenSegment[];
  readonly arrivals: readonly { readonly atMs: number; readonly bytes: number }[];
  /** What the application wrote in the end. */
  readonly sentBytes: number;
  readonly ok: boolean;
}

async function upload(lab: Lab, { lossPercent, beforeMs, afterMs }: BackupPlan): Promise<BackupRun> {
  const startedMs = Date.now();
  const since = (timeMs: number) => timeMs - startedMs;
  const segments: SeenSegment[] = [];
  const stopWatching = watchSegments(lab, "client", [first, second], (one) =>
    segments.push({ ...one, timeMs: since(one.timeMs) }),
  );
  const transfer = await startTransfer(lab, { address: serverAddress, direction: "upload" });
  try {
    const arrivals: { atMs: number; bytes: number }[] = [];
    transfer.receiver.on("data", () => arrivals.push({ atMs: since(Date.now()), bytes: transfer.receivedBytes }));
    await sleep(beforeMs);
    const lossAtMs = since(Date.now());
    await lab.setLink(first, { lossPercent });
    await sleep(afterMs);
    await lab.setLink(first, { lossPercent: 0 });
    lab.check();
    const { ok, sentBytes } = await transfer.stop();
    // The last segments wait to be read.
    await sleep(200);
    return { lossAtMs, segments, arrivals, sentBytes, ok };
  } finally {
    transfer.abort();
    stopWatching();
  }
}

export async function runBackup(plan: BackupPlan, side: Side): Promise<BackupRun> {
  const thresholdMs = thresholdsMs[side];
  await using lab = await createLab(phone(thresholdMs === undefined ? "kernel" : "userspace"));
  if (thresholdMs === undefined) {
    addEndpoint(lab, "backup");
    return await upload(lab, plan);
  }
  return await withController(lab, backup({ interface: second, thresholdMs }), () => upload(lab, plan));
}
