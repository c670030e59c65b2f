import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { listChains, openChain } from "../chain/index.ts";
import { connectMptcp, createNetns, deleteNetns, listenMptcp, withNetns } from "../linux/index.ts";
import { built, emptcp } from "./testing/run.ts";

const netns = `emptcp-feed-${process.pid}`;
const name = `feed-${process.pid}`;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "emptcp-feed-"));
  createNetns(netns);
  withNetns(netns, () => spawnSync("ip", ["link", "set", "lo", "up"]));
  writeFileSync(
    join(folder, "tell.ts"),
    `import { ActorChain, PolicyChain, SelectorChain } from "emptcp";
     import { actor, emit, event, u16, u64 } from "emptcp/policy";
     const opened = event("opened", { port: u16, window: u64 });
     const tell = actor({
       name: "tell",
       run(packet) {
         const { tcp } = packet;
         if (!tcp.syn || tcp.ack) return;
         emit(opened, packet.flow, { port: tcp.destinationPort, window: tcp.window });
       },
     });
     export default new PolicyChain(new SelectorChain(), new ActorChain().add(tell), { interfaces: ["lo"] });`,
  );
});
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const chain of listChains()) if (chain.name === name) chain.remove();
});
afterAll(() => {
  deleteNetns(netns);
  rmSync(folder, { recursive: true });
});

function apply(): void {
  const { status, stderr } = emptcp(["chain", "apply", join(folder, "tell.ts"), "--netns", netns, "--name", name]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
}

/** Opens an MPTCP connection in the namespace and closes it; gives the server's port. */
async function connectOnce(): Promise<number> {
  const server = await listenMptcp({ address: "127.0.0.1", port: 0, netns });
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const { port } = server.address() as AddressInfo;
  const client = await connectMptcp({ address: "127.0.0.1", port, netns });
  const [peer] = await accepted;
  client.write("hello");
  await once(peer, "data");
  client.destroy();
  peer.destroy();
  server.close();
  return port;
}

/** Runs the command beside the test; `lines` are what it has printed. */
function events(...args: string[]) {
  const child = spawn(process.execPath, [built, "events", ...args]);
  children.push(child);
  const output = { stdout: "", stderr: "" };
  child.stdout.on("data", (data: Buffer) => (output.stdout += data.toString()));
  child.stderr.on("data", (data: Buffer) => (output.stderr += data.toString()));
  const lines = () => output.stdout.split("\n").slice(0, -1);
  const until = async (condition: () => boolean) =>
    await vi.waitFor(() => expect(condition(), JSON.stringify(output)).toBe(true), { timeout: 10_000, interval: 50 });
  return { child, output, lines, until };
}

test("emptcp events prints what a chain's policies emitted before and while it reads, a line each", async () => {
  apply();
  const before = await connectOnce();
  const started = Date.now();
  const { child, lines, until } = events(name, "--json", "--count", "2");
  await until(() => lines().length === 1);
  const after = await connectOnce();
  await once(child, "exit");
  const told = lines().map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(told).toMatchObject([
    { source: "chain", chain: name, policy: "tell", event: "opened", remote: "127.0.0.1", fields: { port: before } },
    { localPort: after, fields: { port: after, window: expect.stringMatching(/^\d+$/) } },
  ]);
  for (const { time } of told) expect(Math.abs(Date.parse(String(time)) - started)).toBeLessThan(60_000);
});

test("emptcp events finds chains that come later, tells of the path manager with --mptcp, and ends with a signal", async () => {
  const { child, output, lines } = events("--mptcp", "--netns", netns);
  apply();
  await vi.waitFor(
    async () => {
      await connectOnce();
      expect(output.stdout).toContain("tell: opened");
    },
    { timeout: 20_000, interval: 700 },
  );
  expect(lines().find((line) => line.includes(name))).toMatch(
    /tell: opened +127\.0\.0\.1:\d+ > 127\.0\.0\.1:\d+ +port=\d+ window=\d+$/,
  );
  expect(output.stdout).toMatch(/ mptcp [0-9a-f]{8} +established .*127\.0\.0\.1:\d+ > 127\.0\.0\.1:\d+/);
  child.kill("SIGINT");
  expect(await once(child, "exit")).toEqual([null, "SIGINT"]);
});

test("emptcp events goes on with a chain that is changed, also when it is silent meanwhile", async () => {
  apply();
  const { child, output, lines, until } = events(name, "--json");
  await connectOnce();
  await until(() => lines().length === 1);
  const edit = (...args: string[]) => expect(emptcp(["chain", "edit", name, ...args])).toMatchObject({ status: 0 });
  edit("--disable", "tell");
  await connectOnce();
  edit("--enable", "tell");
  const ports: number[] = [];
  await vi.waitFor(
    async () => {
      ports.push(await connectOnce());
      expect(lines().length, JSON.stringify(output)).toBeGreaterThan(1);
    },
    { timeout: 20_000, interval: 700 },
  );
  const told = lines().map((line) => (JSON.parse(line) as { fields: { port: number } }).fields.port);
  expect(ports).toContain(told[1]);
  expect(child.exitCode).toBeNull();
});

test("emptcp events ends when its chain is removed", async () => {
  apply();
  const { child, output, until } = events(name);
  await connectOnce();
  await until(() => output.stdout.includes("opened"));
  openChain(name).remove();
  expect(await once(child, "exit")).toEqual([0, null]);
  expect(output.stderr).toContain(`Chain ${name} was removed`);
});

test("emptcp events refuses a chain that is not there", () => {
  const { status, stdout, stderr } = emptcp(["events", "no-such-chain"]);
  expect(stderr).toMatch(/Cannot find chain no-such-chain/);
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
});

test.each([
  ["events", ["events", "--mptcp"], /needs CAP_NET_ADMIN; run as root/],
  ["chain explain", ["chain", "explain", "-i", "lo", "CHAIN"], /needs CAP_NET_RAW and CAP_NET_ADMIN; run as root/],
])("emptcp %s says which right is missing", (_, args, message) => {
  const powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
  const path = join(folder, "tell.ts");
  const { status, stderr } = emptcp(
    args.map((arg) => (arg === "CHAIN" ? path : arg)),
    powerless,
  );
  expect(stderr).toMatch(message);
  expect(status).toBe(1);
});
