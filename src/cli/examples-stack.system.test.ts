import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, expect, test, vi } from "vitest";
import { listChains, openChain } from "../chain/index.ts";
import { listInStack, openInStack } from "../instack/index.ts";
import type { Lab, Transfer } from "../lab/index.ts";
import { setDefaultCongestionControl } from "../linux/index.ts";
import { emptcp } from "./testing/run.ts";
import { createRouter, measureUplinks, startUpload } from "./testing/uplinks.ts";

// The files in examples/ that act in the stack. Names there are the whole kernel's: each run has its own.

const control = `exs_${process.pid}`;
const chain = `examples-${process.pid}`;
const scratch = mkdtempSync(join(tmpdir(), "emptcp-examples-"));
const example = (file: string): string => fileURLToPath(new URL(`../../examples/${file}`, import.meta.url));

let lab: Lab | undefined;
let transfer: Transfer | undefined;
afterEach(async () => {
  transfer?.abort();
  if (listChains().some(({ name }) => name === chain)) openChain(chain).remove();
  if (listInStack().some(({ name }) => name === control)) openInStack(control).remove({ move: true });
  await lab?.close();
  lab = transfer = undefined;
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function run(...args: string[]): void {
  const { status, stderr } = emptcp(args);
  expect({ status, stderr }, args.join(" ")).toEqual({ status: 0, stderr: "" });
}

/** The percentage of the first uplink. */
async function measureShare(seconds: number): Promise<number> {
  const [first, second] = await measureUplinks(transfer!, seconds);
  return (100 * first) / (first + second);
}

test.each([
  [40, 20],
  [20, 40],
])(
  "seventy-thirty.ts shares uplinks of %i and %i Mbit/s, and changes the shares of running connections",
  async (...rates) => {
    const [first, second] = rates;
    lab = await createRouter([
      { name: "wan1", rateMbit: first, rttMs: 20 },
      { name: "wan2", rateMbit: second, rttMs: 40 },
    ]);
    const text = readFileSync(example("seventy-thirty.ts"), "utf8");
    const own = text.replace('weight: uplinks.param("weight")', `$&, control: "${control}"`);
    expect(own).not.toBe(text);
    const file = join(scratch, "seventy-thirty.ts");
    writeFileSync(file, own);
    run("stack", "start", "--name", control);
    run("chain", "apply", file, "--netns", lab.host("router").netns, "--name", chain);
    transfer = await startUpload(lab);
    await sleep(4000);
    expect(Math.abs((await measureShare(4)) - 70)).toBeLessThan(3);
    // As much as the uplink carries that is short of its share.
    const [carried] = await measureUplinks(transfer, 2);
    expect(carried).toBeGreaterThan(0.85 * Math.min(first, (second * 70) / 30));
    run(
      "chain",
      "members",
      chain,
      "--update",
      "prefix=192.168.1.0/24,weight=50",
      "--update",
      "prefix=192.168.2.0/24,weight=50",
    );
    await sleep(3000);
    expect(Math.abs((await measureShare(4)) - 50)).toBeLessThan(3);
    expect(await transfer.stop()).toMatchObject({ ok: true });
  },
);

test("prefer-wifi.ts uses LTE for what WiFi lacks of 20 Mbit/s, and for everything when WiFi is dead", async () => {
  lab = await createRouter([
    { name: "wifi", rateMbit: 30, rttMs: 20 },
    { name: "lte", rateMbit: 30, rttMs: 50 },
  ]);
  run("stack", "start", example("prefer-wifi.ts"), "--name", control);
  setDefaultCongestionControl(control, lab.host("router").netns);
  transfer = await startUpload(lab, control);
  const until = async (isSo: (wifi: number, lte: number) => boolean): Promise<void> =>
    await vi.waitFor(
      async () => {
        const [wifi, lte] = await measureUplinks(transfer!, 2);
        expect(isSo(wifi, lte), `WiFi ${wifi.toFixed(1)}, LTE ${lte.toFixed(1)} Mbit/s`).toBe(true);
      },
      { timeout: 30_000 },
    );
  const idles = (wifi: number, lte: number): boolean => wifi > 26 && lte < 0.2;
  await until(idles);
  await lab.setLink("wifi", { rateMbit: 10 });
  await until((wifi, lte) => wifi > 8.5 && lte > 7.5 && lte < 12);
  await lab.setLink("wifi", { rateMbit: 30 });
  await until(idles);
  await lab.setLink("wifi", { lossPercent: 100 });
  await until((wifi, lte) => wifi < 0.2 && lte > 26);
  await lab.setLink("wifi", { lossPercent: 0 });
  await until(idles);
  expect(await transfer.stop()).toMatchObject({ ok: true });
}, 240_000);
