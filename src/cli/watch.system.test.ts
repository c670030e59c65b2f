import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { ActorChain, PolicyChain, SelectorChain } from "../chain/index.ts";
import { connectHosts, createLab, type Connection, type Lab } from "../lab/index.ts";
import { dumpTcpSockets } from "../linux/index.ts";
import { built, emptcp, emptcpJson } from "./testing/run.ts";
import type { WatchedConnection } from "./watch/model.ts";

// What is shown is what runs: a connection over two links, one of which a chain looks at.

const chainName = `watch-${process.pid}`;
let lab: Lab;
let connection: Connection;
let client: string;

beforeAll(async () => {
  lab = await createLab({
    hosts: { client: {}, server: { endpoints: "signal" } },
    links: [
      { name: "wifi", between: ["client", "server"], rateMbit: 40, rttMs: 20 },
      { name: "lte", between: ["client", "server"], rateMbit: 20, rttMs: 60 },
    ],
  });
  client = lab.host("client").netns;
  const meter = new ActorChain().add("record");
  new PolicyChain(new SelectorChain(), meter, { name: chainName, interfaces: ["lte"], netns: client }).submit();
  connection = await connectHosts(lab);
  connection.server.resume();
  connection.client.write(Buffer.alloc(300_000));
  await vi.waitFor(() => expect(subflows()).toHaveLength(2), { timeout: 10_000, interval: 100 });
});
afterAll(async () => {
  connection.close();
  spawnSync(process.execPath, [built, "chain", "remove", chainName]);
  await lab.close();
});

const subflows = () => dumpTcpSockets(client).filter(({ mptcp, state }) => mptcp && state === "established");

test("emptcp watch --json tells what the kernel and the chains know of each subflow", async () => {
  await vi.waitFor(() => expect(connection.client.bytesWritten).toBe(300_000));
  const { connections } = emptcpJson("watch", "--netns", client, "--interval", "0.2") as {
    connections: WatchedConnection[];
  };
  const [one, ...others] = connections;
  expect(others).toEqual([]);
  const kernel = subflows();
  expect(one.token).toBe(kernel[0].mptcp!.tokenLocal);
  expect(new Set(one.subflows.map(({ local, remote }) => `${local.address} ${local.port} ${remote.address}`))).toEqual(
    new Set(kernel.map(({ local, remote }) => `${local.address} ${local.port} ${remote.address}`)),
  );
  const [wifi, lte] = ["wifi", "lte"].map((name) => one.subflows.find((subflow) => subflow.interface === name)!);
  expect(wifi).toMatchObject({ state: "established", chains: [], localId: 0 });
  expect(lte).toMatchObject({ state: "established", chains: [chainName], recorded: { chain: chainName } });
  expect(wifi.rttUs).toBeGreaterThan(19_000);
  expect(lte.rttUs).toBeGreaterThan(59_000);
  expect(lte.recorded!.rttUs).toBeGreaterThan(59_000);
});

test("emptcp watch prints one table where there is no terminal, and says so", () => {
  const { status, stdout, stderr } = emptcp(["watch", "--netns", client, "--interval", "0.2"]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringMatching(/no terminal.*--once/) });
  expect(stdout).toMatch(/wifi +10\..* > .* established +0\/0 +normal +\d+\.\d ms/);
  expect(stdout).toMatch(new RegExp(`lte .*${chainName}$`, "m"));
});

test("emptcp watch --stream prints one object a line until it is stopped", async () => {
  const child = spawn(process.execPath, [built, "watch", "--netns", client, "--interval", "0.1", "--json", "--stream"]);
  let text = "";
  child.stdout.on("data", (data: Buffer) => (text += data.toString()));
  await vi.waitFor(() => expect(text.split("\n").length).toBeGreaterThan(3), { timeout: 10_000, interval: 50 });
  child.kill("SIGTERM");
  await once(child, "exit");
  for (const line of text.trimEnd().split("\n")) expect(JSON.parse(line)).toMatchObject({ connections: [{}] });
});

/** A terminal of 24 lines; what the command wrote to it, and its exit. */
async function onTerminal(type: (send: (text: string) => void, pid: () => number) => Promise<void>): Promise<string> {
  const command = `stty rows 24 cols 160; exec ${process.execPath} ${built} watch --netns ${client} --interval 0.2`;
  const child = spawn("script", ["-qefc", command, "/dev/null"], { env: { ...process.env, TERM: "xterm" } });
  let text = "";
  child.stdout.on("data", (data: Buffer) => (text += data.toString()));
  await vi.waitFor(() => expect(text).toContain("10.0"), { timeout: 10_000, interval: 50 });
  await type(
    (keys) => child.stdin.write(keys),
    () => Number(spawnSync("pgrep", ["-P", String(child.pid)], { encoding: "utf8" }).stdout.trim()),
  );
  await once(child, "exit");
  return text;
}

test.each([
  ["q", async (send: (text: string) => void) => Promise.resolve(send("q"))],
  ["Ctrl-C", async (send: (text: string) => void) => Promise.resolve(send("\u0003"))],
  [
    "a signal",
    async (_: unknown, pid: () => number) => {
      await sleep(100);
      process.kill(pid(), "SIGTERM");
    },
  ],
])("emptcp watch gives the terminal back on %s", async (_, type) => {
  const text = await onTerminal(type);
  expect(text).toContain("\u001b[?1049h");
  expect(text.slice(text.indexOf("\u001b[?1049l"))).toBe("\u001b[?1049l");
  expect(text).toContain("\u001b[?25h\u001b[?1049l");
});

test("emptcp watch shows what the path manager does", async () => {
  const text = await onTerminal(async (send) => {
    const other = await connectHosts(lab);
    await sleep(1000);
    other.close();
    await sleep(1000);
    send("q");
  });
  expect(text).toMatch(/established {2}.* > /);
  expect(text).toMatch(/subflow_established/);
});
