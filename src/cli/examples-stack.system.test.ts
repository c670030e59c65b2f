import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, expect, test, vi } from "vitest";
import { listChains, openChain } from "../chain/index.ts";
import { listInStack, openInStack } from "../instack/index.ts";
import type { Lab, Transfer } from "../lab/index.ts";
import { deviceCounters, setDefaultCongestionControl, withNetns } from "../linux/index.ts";
import { emptcp } from "./testing/run.ts";
import { createRouter, measureUplinks, startUpload } from "./testing/uplinks.ts";

// The files in examples/ that act in the stack. Names there are the whole kernel's: each run has its own.

const control = `exs_${process.pid}`;
const chain = `examples-${process.pid}`;
const scratch = mkdtempSync(join(tmpdir(), "emptcp-examples-"));
const example = (file: string): string => fileURLToPath(new URL(`../../examples/${file}`, import.meta.url));

let lab: Lab | undefined;
let transfer: Transfer | undefined;
let program: ChildProcess | undefined;
afterEach(async () => {
  await kill();
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

/** Waits until the uplinks carry what is asked, in Mbit/s. */
async function until(isSo: (first: number, second: number) => boolean): Promise<void> {
  await vi.waitFor(
    async () => {
      const [first, second] = await measureUplinks(transfer!, 1.5);
      expect(isSo(first, second), `${first.toFixed(1)} and ${second.toFixed(1)} Mbit/s`).toBe(true);
    },
    { timeout: 30_000 },
  );
}

/** The first uplink has this percentage of what both carry. */
const isShared = (percent: number) => (first: number, second: number) =>
  Math.abs((100 * first) / (first + second) - percent) < 3;

test("seventy-thirty.ts shares uplinks of 40 and 20 Mbit/s, and changes the shares of running connections", async () => {
  const [first, second] = [40, 20];
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
  // As much as the uplink carries that is short of its share.
  const whole = 0.85 * Math.min(first, (second * 70) / 30);
  await until((wan1, wan2) => isShared(70)(wan1, wan2) && wan1 > whole);
  run(
    "chain",
    "members",
    chain,
    "--update",
    "prefix=192.168.1.0/24,weight=50",
    "--update",
    "prefix=192.168.2.0/24,weight=50",
  );
  await until(isShared(50));
  expect(await transfer.stop()).toMatchObject({ ok: true });
});

const isHeld = (wifi: number, lte: number): boolean => wifi > 15 && lte < 0.2;
const idles = (wifi: number, lte: number): boolean => wifi > 24 && lte < 0.2;

test("prefer-wifi.ts uses LTE for what WiFi lacks of 20 Mbit/s, and for everything when WiFi is dead", async () => {
  lab = await createRouter([
    { name: "wifi", rateMbit: 30, rttMs: 20 },
    { name: "lte", rateMbit: 30, rttMs: 50 },
  ]);
  run("stack", "start", example("prefer-wifi.ts"), "--name", control);
  setDefaultCongestionControl(control, lab.host("router").netns);
  transfer = await startUpload(lab, control);
  await until(idles);
  await lab.setLink("wifi", { rateMbit: 10 });
  await until((wifi, lte) => wifi > 8 && lte > 6 && lte < 14);
  await lab.setLink("wifi", { rateMbit: 30, lossPercent: 100 });
  await until((wifi, lte) => wifi < 0.2 && lte > 24);
  await lab.setLink("wifi", { lossPercent: 0 });
  await until(idles);
  expect(await transfer.stop()).toMatchObject({ ok: true });
}, 240_000);

/** Runs an example in the router until it is killed. */
function start(file: string, ...args: string[]): void {
  const command = [example(file), ...args];
  program = withNetns(lab!.host("router").netns, () => spawn(process.execPath, command, { stdio: "inherit" }));
}

async function kill(): Promise<void> {
  if (program === undefined || program.exitCode !== null) return;
  program.kill("SIGKILL");
  await once(program, "exit");
  program = undefined;
}

/** Bytes that an interface of the router has carried. */
function counterOf(name: string): number {
  const { received, sent } = withNetns(lab!.host("router").netns, deviceCounters).get(name)!;
  return received.bytes + sent.bytes;
}

test("lte-quota.mjs counts each byte once however often it is killed, holds LTE at its quota, and frees it next month", async () => {
  lab = await createRouter([
    { name: "wifi", rateMbit: 20, rttMs: 20 },
    { name: "lte", rateMbit: 20, rttMs: 30 },
  ]);
  const file = join(scratch, "lte-quota.json");
  const kept = (): { month: string; used: number } => JSON.parse(readFileSync(file, "utf8")) as never;
  start("lte-quota.mjs", "lte", "1e12", file);
  // A new interface says a little by itself.
  await vi.waitFor(() => expect(kept().used).toBeLessThan(1000), { timeout: 10_000 });
  const before = counterOf("lte");
  transfer = await startUpload(lab);
  for (let i = 0; i < 2; i++) {
    await sleep(1700);
    await kill();
    await sleep(500);
    start("lte-quota.mjs", "lte", "1e12", file);
  }
  await sleep(1500);
  // What has passed since it last looked is not in the file yet.
  const passed = counterOf("lte") - before;
  expect(passed).toBeGreaterThan(5e6);
  expect(kept().used / passed).toBeGreaterThan(0.5);
  expect(await transfer.stop()).toMatchObject({ ok: true });
  // The router's own announcements may pass at any time.
  const mistake = (): number => Math.abs(counterOf("lte") - before - kept().used);
  await vi.waitFor(() => expect(mistake()).toBeLessThan(2000), { timeout: 10_000 });
  await kill();

  transfer = await startUpload(lab);
  await until((wifi, lte) => wifi > 15 && lte > 15);
  start("lte-quota.mjs", "lte", String(kept().used + 3e6), file);
  await until(isHeld);
  await kill();
  start("lte-quota.mjs", "lte", String(kept().used), file);
  await until(isHeld);
  await kill();
  writeFileSync(file, JSON.stringify({ ...kept(), month: "2001-01" }));
  start("lte-quota.mjs", "lte", "1e9", file);
  await until((wifi, lte) => wifi > 15 && lte > 15);
  expect(await transfer.stop()).toMatchObject({ ok: true });
});
