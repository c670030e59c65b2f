import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { createLab, type Lab } from "../../lab.ts";
import { readLinkCounters } from "../../measure/counters.ts";
import { bare } from "../../plan.ts";
import { megabits, startTransfer } from "../../workload/transfer.ts";
import { arrangeCredits } from "./arrange.ts";
import { bottleneck, bottlenecks, place, uplinks } from "./place.ts";

const download = (lab: Lab) =>
  startTransfer(lab, { address: bare(lab.link(uplinks[0]).ends[0].ipv4), sendBufferBytes: 300_000 });

/** Mbit/s over each bottleneck from now on. */
async function carried(lab: Lab, seconds: number): Promise<number[]> {
  const read = () => bottlenecks.map((link) => readLinkCounters(lab)[link].forward.delivered.bytes);
  const before = read();
  await sleep(1000 * seconds);
  return read().map((bytes, i) => megabits(bytes - before[i], 1000 * seconds));
}

/** Waits until the bottlenecks carry what is asked, in Mbit/s. */
async function until(lab: Lab, isSo: (mbit: readonly number[]) => boolean): Promise<void> {
  await vi.waitFor(
    async () => {
      const seen = await carried(lab, 1);
      expect(isSo(seen), `${seen.map((mbit) => mbit.toFixed(1)).join(" and ")} Mbit/s`).toBe(true);
    },
    { timeout: 30_000 },
  );
}

test("a path that dies while it holds credits leaves the other what it carries", async () => {
  await using lab = await createLab(place);
  const { undo } = arrangeCredits(lab);
  try {
    const transfer = await download(lab);
    await sleep(1000);
    await lab.setLink(bottlenecks[0], { lossPercent: 100 });
    // The subflow has to be found stale first.
    await until(lab, ([dead, alive]) => dead < 1 && alive > 0.7 * bottleneck.rateMbit);
    await lab.setLink(bottlenecks[0], { lossPercent: 0 });
    expect(await transfer.stop()).toMatchObject({ ok: true });
  } finally {
    undo();
  }
}, 60_000);

test("connections go on as the base would when nobody grants credit any more", async () => {
  await using lab = await createLab(place);
  const { endGrants, undo } = arrangeCredits(lab);
  try {
    const transfer = await download(lab);
    await sleep(1000);
    endGrants();
    // What was granted before is used up by then. Without credits two packets per round trip are sent to probe: 2.3 Mbit/s.
    await sleep(1000);
    await until(lab, ([first, second]) => first + second > bottleneck.rateMbit);
    expect(await transfer.stop()).toMatchObject({ ok: true });
  } finally {
    undo();
  }
}, 60_000);
