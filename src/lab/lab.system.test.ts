import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { setTimeout as sleep } from "node:timers/promises";
import { createLab, type Lab } from "./lab.ts";
import { wifiAndLte } from "./spec.ts";
import { startTransfer } from "./workload/transfer.ts";

describe("a transfer over two links", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await createLab(wifiAndLte);
  });
  afterAll(async () => {
    await lab?.close();
  });

  test("uses both", async () => {
    const transfer: Awaited<ReturnType<typeof startTransfer>> = await startTransfer(lab, {
      progressMs: 1000,
      onProgress: (p) =>
        console.log(
          JSON.stringify(p),
          transfer.info().subflows.map((s) => s.tcp.rttUs),
        ),
    });
    await sleep(6000);

    const result = await transfer.stop();
    console.log(result);
    expect(result.ok).toBe(true);
  });
});
