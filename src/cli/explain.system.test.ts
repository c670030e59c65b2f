import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { listChains } from "../chain/index.ts";
import { connectMptcp, createNetns, deleteNetns, listenMptcp, withNetns } from "../linux/index.ts";
import { built, emptcp } from "./testing/run.ts";

const netns = `emptcp-explain-${process.pid}`;
const name = `explain-${process.pid}`;
const children: ChildProcess[] = [];
let folder: string;
let chain: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "emptcp-explain-"));
  chain = join(folder, "meter.ts");
  writeFileSync(
    chain,
    `import { ActorChain, PolicyChain, SelectorChain } from "emptcp";
     const meter = new ActorChain().add("record");
     export default new PolicyChain(new SelectorChain(), meter, { name: "${name}", interfaces: ["lo"] });`,
  );
  createNetns(netns);
  withNetns(netns, () => spawnSync("ip", ["link", "set", "lo", "up"]));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const one of listChains()) if (one.name === name) one.remove();
});
afterAll(() => {
  deleteNetns(netns);
  rmSync(folder, { recursive: true });
});

interface Told {
  readonly packet: { readonly flags: string };
  readonly direction: { readonly direction: string; readonly source: string };
  readonly actors: readonly { readonly did: string }[];
  readonly state: readonly { readonly before?: { readonly packetsOut: number }; readonly after: object }[];
}

/** Explains packets of the namespace's loopback interface; `connect` opens a connection on it. */
async function explainLive(args: readonly string[], traffic: () => Promise<void>): Promise<Told[]> {
  const child = spawn(process.execPath, [built, "chain", "explain", "-i", "lo", "--netns", netns, "--json", ...args]);
  children.push(child);
  let text = "";
  let errors = "";
  child.stdout.on("data", (data: Buffer) => (text += data.toString()));
  child.stderr.on("data", (data: Buffer) => (errors += data.toString()));
  const exit = once(child, "exit");
  // Nothing tells when the command has begun to listen.
  await vi.waitFor(
    async () => {
      await traffic();
      expect(child.exitCode, errors).toBe(0);
    },
    { timeout: 20_000, interval: 300 },
  );
  await exit;
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Told);
}

async function open() {
  const server = await listenMptcp({ address: "127.0.0.1", port: 0, netns });
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const { port } = server.address() as AddressInfo;
  const client = await connectMptcp({ address: "127.0.0.1", port, netns });
  const [peer] = await accepted;
  peer.resume();
  const close = () => {
    client.destroy();
    peer.destroy();
    server.close();
  };
  return { port, client, close };
}

test("emptcp chain explain --interface explains packets as they pass, both ways, and ends after as many as were asked for", async () => {
  const told = await explainLive([chain, "--count", "4"], async () => (await open()).close());
  expect(told).toHaveLength(4);
  for (const { actors } of told) expect(actors).toMatchObject([{ name: "record", did: "acted" }]);
  expect(new Set(told.map(({ direction }) => `${direction.direction} ${direction.source}`))).toEqual(
    new Set(["egress capture", "ingress capture"]),
  );
});

test.each([
  ["its file", () => chain],
  ["its name", () => name],
])("emptcp chain explain --with-state goes on from what the running chain has recorded, by %s", async (_, which) => {
  expect(emptcp(["chain", "apply", chain, "--netns", netns])).toMatchObject({ status: 0 });
  const connection = await open();
  connection.client.write("before");
  const flow = `127.0.0.1:${connection.port}`;
  const [first] = await explainLive([which(), "--with-state", "--count", "1", "--flow", flow], async () => {
    connection.client.write("more");
    await Promise.resolve();
  });
  connection.close();
  expect(first.state[0].before!.packetsOut).toBeGreaterThan(1);
});

test("emptcp chain explain --with-state says when no such chain runs", () => {
  const { status, stderr } = emptcp(["chain", "explain", "-i", "lo", "--netns", netns, chain, "--with-state"]);
  expect(stderr).toMatch(new RegExp(`Cannot find chain ${name}`));
  expect(status).toBe(1);
});
