import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { chainNames } from "../chain/store.ts";
import { listConnections } from "../linux/index.ts";
import { HostPair } from "../linux/testing/host-pair.ts";
import { built, emptcp } from "./testing/run.ts";

const name = `emptcp-paths-run-${process.pid}`;
const children: ChildProcess[] = [];
let pair: HostPair;
let directory: string;
let output = "";

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "emptcp-paths-run-"));
  pair = await HostPair.open({ name, client: "userspace" });
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  pair.close();
  rmSync(directory, { recursive: true });
});

const file = () => join(directory, "mine.ts");
const write = (text: string): void =>
  writeFileSync(file(), `import { controller, ndiffports } from "emptcp/paths";\n${text}`);
const eventually = (check: () => void, interval = 50) => vi.waitFor(check, { timeout: 15_000, interval });
const counts = () => listConnections(pair.client).map(({ subflows }) => subflows.length);

/** Chains of the processes that were started here. */
const watching = () =>
  chainNames().filter((chain) => children.some(({ pid }) => chain.startsWith(`paths-timeouts-${pid}-`)));

async function run(...flags: string[]): Promise<ChildProcess> {
  output = "";
  const child = spawn(process.execPath, [built, "paths", "run", file(), "--netns", pair.client, ...flags]);
  children.push(child);
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (output += data.toString()));
  await eventually(() => expect(output).toContain("Ctrl-C ends"));
  return child;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const exit = once(child, "exit");
  child.kill(signal);
  await exit;
}

test("emptcp paths run loads a file again when it changes, and keeps what runs when that fails", async () => {
  write("export default ndiffports({ subflows: 2 });");
  const child = await run();
  const { client, server } = await pair.connect();
  await eventually(() => expect(counts()).toEqual([2]));
  write("export default [ndiffports({ subflows: 3 })];");
  await eventually(() => expect(counts()).toEqual([3]));
  write("export default ndiffports;");
  await eventually(() => expect(output).toMatch(/is a function that makes one: call it[^]*ran before go on/));
  write("export default ndiffports({ subflows: 3 };");
  await eventually(() => expect(output).toMatch(/mine\.ts:2:\d+: .*expected/));
  await end(child, "SIGTERM");
  expect(counts()).toEqual([3]);
  client.write("still there");
  const [data] = (await once(server, "data")) as [Buffer];
  expect(data.toString()).toBe("still there");
});

test("emptcp paths run --urgent runs at real-time priority, or the highest there is without", async () => {
  write("export default ndiffports();");
  const child = await run("--urgent");
  // Of man 5 proc, without the first two fields, the second of which may have blanks.
  const fields = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1].split(" ").map(Number);
  const [nice, realtime] = [fields[19 - 3], fields[40 - 3]];
  expect(realtime > 0 || nice === -20).toBe(true);
});

const sleepsIn = (status: string): string => /^voluntary_ctxt_switches:\s*(\d+)$/m.exec(status)![1];

/** How often each thread of a process has gone to sleep so far: whoever wakes goes to sleep again. */
function sleepsOf(pid: number): Record<string, string> {
  const tasks = `/proc/${pid}/task`;
  return Object.fromEntries(
    readdirSync(tasks).map((thread) => [thread, sleepsIn(readFileSync(`${tasks}/${thread}/status`, "utf8"))]),
  );
}

test("emptcp paths run sleeps while nothing happens: no thread wakes for a second", async () => {
  write("export default ndiffports();");
  const { pid } = await run();
  await pair.connect();
  await eventually(() => expect(counts()).toEqual([2]));
  // Soon, not at once: what is left of the start is cleaned up first.
  await vi.waitFor(
    async () => {
      const before = sleepsOf(pid!);
      await sleep(1000);
      expect(sleepsOf(pid!)).toEqual(before);
    },
    { timeout: 30_000, interval: 0 },
  );
});

test("emptcp paths run shows what a handler throws with its place, and others go on", async () => {
  write(`
const bad = controller({
  name: "bad",
  established() {
    throw new Error("no idea");
  },
});
export default [bad, ndiffports()];`);
  await run();
  await pair.connect();
  await eventually(() => expect(counts()).toEqual([2]));
  await eventually(() =>
    expect(output).toMatch(/Controller bad failed in established: Error: no idea\n.*mine\.ts:6:11/),
  );
});

test("emptcp paths run, killed and started again under 500 connections, has the right picture and breaks none", async () => {
  write("export default ndiffports({ subflows: 2 });");
  const child = await run();
  const connections: { client: Socket; sent: string; received: string }[] = [];
  const connect = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const { client, server } = await pair.connect();
      const one = { client, sent: "", received: "" };
      server.setEncoding("utf8").on("data", (text: string) => (one.received += text));
      connections.push(one);
    }
  };
  const send = (what: string) => {
    for (const [i, one] of connections.entries()) {
      const text = `${what} ${i}: ${"x".repeat(5000)}\n`;
      one.sent += text;
      one.client.write(text);
    }
  };
  await connect(400);
  send("before");
  await end(child, "SIGKILL");
  send("without");
  await connect(100);
  await run();
  expect(output).toContain("500 connections");
  send("after");
  await eventually(() => expect(counts()).toEqual(connections.map(() => 2)), 300);
  await eventually(() => {
    for (const { sent, received } of connections) expect(received).toBe(sent);
  });
});

test("emptcp paths run removes the chain that a killed one watched timers with, and its own when it ends", async () => {
  write('export default controller({ name: "timers", timeout() {} });');
  const killed = await run();
  expect(watching()).toEqual([`paths-timeouts-${killed.pid}-1`]);
  await end(killed, "SIGKILL");
  const child = await run();
  expect(watching()).toEqual([`paths-timeouts-${child.pid}-1`]);
  await end(child, "SIGTERM");
  expect(watching()).toEqual([]);
});

test("emptcp paths run says who else manages paths, and what a file lacks", async () => {
  write("export default ndiffports();");
  output = "";
  const child = spawn(process.execPath, [built, "paths", "run", file(), "--netns", pair.server]);
  children.push(child);
  child.stderr.on("data", (data: Buffer) => (output += data.toString()));
  await eventually(() => expect(output).toContain("set sysctl net.mptcp.path_manager=userspace"));
  write("export const mine = 3;");
  expect(emptcp(["paths", "run", file()])).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/no default export; export default controller/) as unknown,
  });
});
