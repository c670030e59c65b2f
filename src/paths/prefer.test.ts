import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { prefer } from "./index.ts";
import { FakeKernel } from "./testing/fakes.ts";

// Quotas of prefer(), over restarts and months. Interfaces "one" and "two" are those of the fake.

let directory: string;
let kernel: FakeKernel | undefined;
const file = () => join(directory, "kept", "use.json");

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "emptcp-prefer-"));
  vi.useFakeTimers();
  vi.setSystemTime("2026-01-30T12:00:00Z");
});
afterEach(() => {
  expect(kernel?.failures ?? []).toEqual([]);
  kernel?.tell("closed");
  vi.useRealTimers();
  rmSync(directory, { recursive: true });
});

/** A run of the controller on a connection that began at "one"; each interface has carried what is given. */
function start(carried: Record<string, number>): FakeKernel {
  const interfaces = [{ name: "one", quotaBytes: 1000 }, { name: "two" }];
  kernel = new FakeKernel(prefer({ interfaces, usedFile: file() }));
  carry(carried);
  for (const address of kernel.addresses) kernel.handlers.tell("localAddressAdded", undefined, address, kernel.manager);
  kernel.establish();
  return kernel;
}
const carry = (carried: Record<string, number>): void => {
  for (const [name, bytes] of Object.entries(carried)) kernel!.carried.set(name, bytes);
};
const used = () =>
  (JSON.parse(readFileSync(file(), "utf8")) as { interfaces: { one: { used: number } } }).interfaces.one.used;
const removed = () => kernel!.commands.filter(({ command }) => command === "destroySubflow").length;

test("prefer() counts on after a restart, what passed meanwhile too, and then leaves the interface", () => {
  start({ one: 5000 });
  carry({ one: 5400 });
  vi.advanceTimersByTime(1000);
  expect([used(), removed()]).toEqual([400, 0]);
  start({ one: 5900 });
  expect([used(), removed()]).toEqual([900, 0]);
  carry({ one: 6000 });
  vi.advanceTimersByTime(1000);
  expect([used(), removed()]).toEqual([1000, 1]);
  start({ one: 6000 });
  expect(removed()).toBe(1);
});

test("prefer() counts an interface on that went away and came again with counters at zero", () => {
  start({ one: 5000 });
  carry({ one: 5100 });
  vi.advanceTimersByTime(1000);
  kernel!.carried.delete("one");
  vi.advanceTimersByTime(1000);
  carry({ one: 50 });
  vi.advanceTimersByTime(1000);
  expect(used()).toBe(150);
});

test("prefer() begins a quota anew with the month (UTC), and uses the interface again", () => {
  start({ one: 0 });
  carry({ one: 2000 });
  vi.advanceTimersByTime(1000);
  expect([used(), removed()]).toEqual([2000, 1]);
  vi.setSystemTime("2026-02-01T00:00:00Z");
  carry({ one: 2010 });
  vi.advanceTimersByTime(1000);
  expect(used()).toBe(10);
  expect(kernel!.asked).toEqual(["10.0.2.1", "10.0.1.1"]);
});

test.each([
  ["half a file", '{"month":"2026-01","boo', /Unexpected|Unterminated.*correct it, or remove it/],
  ["another file", '{"month":3}', /has not the fields month, boot and interfaces; correct it/],
  [
    "a negative count",
    '{"month":"2026-01","boot":"","interfaces":{"one":{"used":-1,"counter":0}}}',
    /has not the fields/,
  ],
])("prefer() refuses %s, and leaves it as it is", (_what, text, message) => {
  const path = join(directory, "use.json");
  writeFileSync(path, text);
  expect(() => prefer({ interfaces: [], usedFile: path })).toThrow(message);
  expect(readFileSync(path, "utf8")).toBe(text);
});

test("prefer() says at once where it cannot keep what was used", () => {
  writeFileSync(join(directory, "kept"), "");
  expect(() => prefer({ interfaces: [], usedFile: file() })).toThrow(/Cannot (read from|keep in) .*ENOTDIR/);
  expect(existsSync(file())).toBe(false);
});
