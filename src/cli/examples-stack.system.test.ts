import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, expect, test } from "vitest";
import { listChains, openChain } from "../chain/index.ts";
import { listInStack, openInStack } from "../instack/index.ts";
import type { Lab, Transfer } from "../lab/index.ts";
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
      "prefix=10.0.1.0/24,weight=50",
      "--update",
      "prefix=10.0.2.0/24,weight=50",
    );
    await sleep(3000);
    expect(Math.abs((await measureShare(4)) - 50)).toBeLessThan(3);
    expect(await transfer.stop()).toMatchObject({ ok: true });
  },
);
