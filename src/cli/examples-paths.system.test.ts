import { spawn, type ChildProcess } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { listConnections, PathManager, watchPathManager, type SubflowState } from "../linux/index.ts";
import { addresses, HostPair, run } from "../linux/testing/host-pair.ts";
import { built } from "./testing/run.ts";

// The controllers in examples/paths, as they are, each on a connection of its own. One process runs them one after the other:
// it loads its file again.

const scratch = mkdtempSync(join(tmpdir(), "emptcp-examples-paths-"));
const file = join(scratch, "controller.ts");
const usedFile = join(scratch, "kept", "prefer.json");
const [first, second] = addresses.client;
const third = "10.9.1.9";
const children: ChildProcess[] = [];
let pair: HostPair;
let client: Socket;
let output = "";

const example = (name: string) => fileURLToPath(new URL(`../../examples/paths/${name}.ts`, import.meta.url));
const write = (name: string): void =>
  writeFileSync(file, readFileSync(example(name), "utf8").replace(/"\/var\/lib\/.*"/, JSON.stringify(usedFile)));
const eventually = (check: () => void) => vi.waitFor(check, { timeout: 15_000 });

async function start(path: string, netns: string, command = built): Promise<void> {
  const before = output.length;
  const child = spawn(process.execPath, [command, "paths", "run", path, "--netns", netns]);
  children.push(child);
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (output += data.toString()));
  await eventually(() => expect(output.slice(before)).toContain("Ctrl-C ends"));
}

/** Puts an example in the place of what runs on the client, and opens a connection. */
async function use(name: string): Promise<void> {
  const before = output.length;
  write(name);
  await eventually(() => expect(output.slice(before)).toMatch(/^Running .* again: 0 connections$/m));
  await connect();
}

async function connect(): Promise<void> {
  ({ client } = await pair.connect());
}

const subflows = (side: "client" | "server" = "client"): readonly SubflowState[] =>
  listConnections(pair[side]).flatMap((one) => one.subflows.filter(({ state }) => state === "established"));
const locals = () =>
  subflows()
    .map(({ local }) => local.address)
    .sort();
const inUse = () =>
  subflows()
    .filter(({ backup }) => !backup)
    .map(({ local }) => local.port);
const silence = (what: "add" | "delete") => run("ip", "-n", pair.server, "route", what, "blackhole", `${first}/32`);

beforeAll(async () => {
  pair = await HostPair.open({ name: `emptcp-examples-${process.pid}`, client: "userspace", server: "userspace" });
  for (const [from, to] of [
    ["one", "wlan0"],
    ["two", "wwan0"],
  ])
    for (const change of [["down"], ["name", to], ["up"]])
      run("ip", "-n", pair.client, "link", "set", change[0] === "up" ? to : from, ...change);
  write("ndiffports");
  await start(file, pair.client);
});
beforeEach(() => {
  client?.destroy();
});
afterEach(async () => {
  client?.destroy();
  await eventually(() => expect(listConnections(pair.client)).toEqual([]));
  expect(output).not.toContain("failed in");
});
afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
  pair?.close();
  rmSync(scratch, { recursive: true });
});

test("ndiffports.ts opens four subflows from one address", async () => {
  await connect();
  await eventually(() => expect(locals()).toEqual([first, first, first, first]));
});

test("fullmesh.ts opens a subflow from each address", async () => {
  await use("fullmesh");
  await eventually(() => expect(locals()).toEqual([first, second]));
});

test("refresh.ts opens five subflows, and puts another one in the place of the slowest", async () => {
  await use("refresh");
  await eventually(() => expect(inUse()).toHaveLength(5));
  const before = new Set(inUse());
  client.write("more");
  await eventually(() => {
    expect(inUse()).toHaveLength(5);
    expect(inUse().filter((port) => !before.has(port))).not.toEqual([]);
  });
});

test("backup.ts leaves an interface that is silent for wwan0", async () => {
  await use("backup");
  expect(locals()).toEqual([first]);
  silence("add");
  try {
    client.write("more");
    await eventually(() => expect(locals()).toEqual([second]));
  } finally {
    silence("delete");
  }
});

test("streaming.ts opens another subflow when a block is late", async () => {
  await use("streaming");
  silence("add");
  try {
    client.write(Buffer.alloc(65_536));
    await eventually(() => expect(locals()).toContain(second));
  } finally {
    silence("delete");
  }
});

test("large-flows.ts opens another subflow once a megabyte is sent", async () => {
  await use("large-flows");
  client.write(Buffer.alloc(500_000));
  await eventually(() => expect(subflows()[0].tcp!.bytesAcked).toBeGreaterThan(500_000));
  expect(locals()).toEqual([first]);
  client.write(Buffer.alloc(700_000));
  await eventually(() => expect(locals()).toEqual([first, second]));
});

test("sspi.ts leaves one subflow over each interface", async () => {
  run("ip", "-n", pair.client, "address", "add", `${third}/24`, "dev", "wwan0");
  try {
    const closed: (string | undefined)[] = [];
    using _events = watchPathManager(
      { event: ({ kind, local }) => void (kind === "subflow_closed" && closed.push(local?.address)) },
      { netns: pair.client },
    );
    await use("sspi");
    await eventually(() => {
      expect(closed).toHaveLength(1);
      expect(new Set([...locals(), ...closed])).toEqual(new Set([first, second, third]));
      expect(locals()).toHaveLength(2);
    });
  } finally {
    run("ip", "-n", pair.client, "address", "delete", `${third}/24`, "dev", "wwan0");
  }
});

test("prefer.ts has wwan0 stand by, and keeps what it carried", async () => {
  await use("prefer");
  await eventually(() =>
    expect(subflows().map(({ local, backup }) => [local.address, backup])).toEqual([
      [first, false],
      [second, true],
    ]),
  );
  expect(existsSync(usedFile)).toBe(true);
});

test("addr-adv.ts makes endpoints of the addresses", async () => {
  await use("addr-adv");
  using manager = new PathManager({ netns: pair.client });
  expect(manager.endpoints()).toEqual(
    expect.arrayContaining(
      [first, second].map((address) => expect.objectContaining({ address, flags: ["subflow"] }) as unknown),
    ),
  );
});

/** @returns where the package is, as it is when it is installed */
function install(): string {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const modules = join(scratch, "node_modules");
  const installed = join(modules, "emptcp");
  for (const part of ["package.json", "dist", "vendor", "examples"])
    cpSync(join(root, part), join(installed, part), { recursive: true });
  for (const name of readdirSync(join(root, "node_modules")).filter((one) => !/^(\.|emptcp$)/.test(one)))
    symlinkSync(join(root, "node_modules", name), join(modules, name));
  return installed;
}

test("server-limit.ts, from where the package is installed, leaves a client one subflow for each address", async () => {
  const installed = install();
  await start(join(installed, "examples/paths/server-limit.ts"), pair.server, join(installed, "dist/cli/main.js"));
  await use("ndiffports");
  using manager = new PathManager({ netns: pair.client });
  const [{ token, remote }] = listConnections(pair.client);
  manager.createSubflow({ token, remote, local: { address: second, id: 1 } });
  await eventually(() =>
    expect(
      subflows("server")
        .map((one) => one.remote.address)
        .sort(),
    ).toEqual([first, second]),
  );
});
