import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listChains } from "../chain/index.ts";
import { listNetns } from "../linux/index.ts";
import { built, emptcp, emptcpJson } from "./testing/run.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "emptcp-report-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Printed {
  readonly sections: readonly { readonly id: string }[];
  readonly checks: readonly { readonly ok: boolean }[];
  readonly files: readonly string[];
}

describe("emptcp lab run EXPERIMENT", () => {
  test("writes a page, a plot for each figure and the numbers, and says where", () => {
    const { sections, checks, files } = emptcpJson(
      "lab",
      "run",
      "multi-tenant",
      "--quick",
      "--report",
      folder,
    ) as Printed;
    expect(sections.map(({ id }) => id)).toEqual(["8a", "8b"]);
    expect(checks.length).toBeGreaterThan(2);
    expect(checks.filter(({ ok }) => !ok)).toEqual([]);
    expect(readdirSync(folder).sort()).toEqual(
      ["html", "json"]
        .map((kind) => `multi-tenant.${kind}`)
        .concat("multi-tenant-8a.svg", "multi-tenant-8b.svg")
        .sort(),
    );
    expect(files[0]).toBe(join(folder, "multi-tenant.html"));
    expect(readFileSync(files[0], "utf8")).toContain("figure 8a");
  });

  test("leaves nothing after Ctrl-C", async () => {
    const child = spawn(process.execPath, [built, "lab", "run", "multi-tenant", "--quick"], { stdio: "ignore" });
    const left = () =>
      [...listNetns(), ...listChains().map(({ name }) => name)].filter((name) => name.includes(`p${child.pid}t`));
    const ended = once(child, "exit");
    for (const deadline = performance.now() + 30_000; !left().some((name) => name.includes("spread"));) {
      expect(performance.now()).toBeLessThan(deadline);
      await sleep(50);
    }
    child.kill("SIGINT");
    await ended;
    expect(left()).toEqual([]);
  });

  test.each([
    ["--report without an experiment", ["--report", "out"], /there are multi-tenant/],
    ["--check with one", ["overhead", "--check"], /a lab of its own/],
    ["a command with one", ["overhead", "--", "true"], /a lab of its own/],
  ])("refuses %s", (_, args, message) => {
    const { status, stderr } = emptcp(["lab", "run", ...args]);
    expect(stderr).toMatch(message);
    expect(status).toBe(2);
  });
});
