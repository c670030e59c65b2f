import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Server as NetServer, Socket as NetSocket } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { createLab, type Lab } from "../lab/index.ts";
import { withNetns } from "../linux/netns.ts";
import { connect, createServer, listen, type MptcpSocket } from "./index.ts";

// Connections over two paths, and namespaces without MPTCP.

let lab: Lab;
const open: (NetServer | NetSocket)[] = [];
const port = 20_000 + (process.pid % 20_000);

beforeAll(async () => {
  const link = { between: ["client", "server"] as const, rateMbit: 200, rttMs: 10 };
  lab = await createLab({
    hosts: {
      client: { sysctls: { "net.ipv4.tcp_syn_retries": 1 } },
      server: { endpoints: "signal" },
    },
    links: [
      { name: "wifi", ...link },
      { name: "lte", ...link },
    ],
  });
});
afterEach(() => {
  for (const one of open.splice(0))
    if ("destroy" in one) one.destroy();
    else one.close();
});
afterAll(async () => {
  await lab?.close();
});

const keep = <T extends NetServer | NetSocket>(one: T): T => {
  open.push(one);
  return one;
};
const netnsOf = (host: string) => lab.host(host).netns;
const serverAddress = (link = 0) => lab.host("server").interfaces[link].ipv4;
const setEnabled = (host: string, enabled: 0 | 1) => run(host, "sysctl", "-qw", `net.mptcp.enabled=${enabled}`);

function run(host: string, tool: string, ...args: string[]): void {
  const { status, stderr } = withNetns(netnsOf(host), () => spawnSync(tool, args, { encoding: "utf8" }));
  expect({ status, stderr }, `${tool} ${args.join(" ")}`).toEqual({ status: 0, stderr: "" });
}

async function echoServer() {
  const server = keep(
    createServer((socket) =>
      keep(socket)
        .on("error", () => {})
        .pipe(socket),
    ),
  );
  await once(server.listen({ port, netns: netnsOf("server") }), "listening");
  return server;
}

const toServer = () => keep(connect({ port, host: serverAddress(), netns: netnsOf("client") }));

/** Sends and receives at once, as `stream.pipe` with an echo. */
async function echo(client: MptcpSocket, bytes: Buffer): Promise<string> {
  const hash = createHash("sha256");
  client.end(bytes);
  for await (const chunk of client) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

test("20 MB come back as they were over two subflows, of which info() and subflows() tell", async () => {
  const server = await echoServer();
  const accepted = once(server, "connection") as Promise<[MptcpSocket]>;
  const client = toServer();
  const [peer] = await accepted;
  await vi.waitFor(() => expect(client.mptcp.subflows()).toHaveLength(2), { timeout: 5000 });
  const remotes = client.mptcp.subflows().map(({ remote }) => `${remote.address} ${remote.port}`);
  expect(remotes.toSorted()).toEqual([0, 1].map((link) => `${serverAddress(link)} ${port}`).toSorted());
  const bytes = randomBytes(20 << 20);
  let seen: { bytes: number; both: boolean } | undefined;
  client.on("close", () => {});
  const looking = setInterval(() => {
    if (peer.destroyed) return;
    const flows = peer.mptcp.subflows();
    seen = { bytes: peer.mptcp.info().bytesReceived, both: flows.every(({ tcp }) => tcp.bytesReceived > 0) };
  }, 20);
  try {
    expect(await echo(client, bytes)).toBe(createHash("sha256").update(bytes).digest("hex"));
  } finally {
    clearInterval(looking);
  }
  expect(seen?.both).toBe(true);
  expect(seen?.bytes).toBeGreaterThan(10 << 20);
});

test("net.mptcp.enabled=0 on the client makes plain TCP of it, and says so", async () => {
  await echoServer();
  setEnabled("client", 0);
  try {
    const client = toServer();
    await once(client, "connect");
    expect(client.mptcp).toMatchObject({ enabled: false, refusal: "ENOPROTOOPT", fallback: true });
    expect(client.mptcp.subflows()).toMatchObject([{ remote: { address: serverAddress(), port } }]);
    const bytes = randomBytes(100_000);
    expect(await echo(client, bytes)).toBe(createHash("sha256").update(bytes).digest("hex"));
  } finally {
    setEnabled("client", 1);
  }
});

test("net.mptcp.enabled=0 on the server makes its listener plain TCP, and both sides say so", async () => {
  setEnabled("server", 0);
  try {
    const server = await echoServer();
    expect(server.mptcp).toEqual({ enabled: false, refusal: "ENOPROTOOPT" });
    const accepted = once(server, "connection") as Promise<[MptcpSocket]>;
    const client = toServer();
    await once(client, "connect");
    const [peer] = await accepted;
    expect(client.mptcp).toMatchObject({ enabled: true, fallback: true });
    expect(peer.mptcp).toMatchObject({ enabled: false, refusal: "ENOPROTOOPT", fallback: true });
  } finally {
    setEnabled("server", 1);
  }
});

test("connect() ends with ETIMEDOUT when nothing answers, while the event loop turns", async () => {
  const rule = ["INPUT", "-p", "tcp", "--dport", "9", "-j", "DROP"];
  run("server", "iptables", "-A", ...rule);
  let turns = 0;
  const turning = setInterval(() => turns++, 10);
  try {
    const client = keep(connect({ port: 9, host: serverAddress(), netns: netnsOf("client"), timeout: 200 }));
    const timedOut = once(client, "timeout");
    const failed = once(client, "error");
    await timedOut;
    expect(client.connecting).toBe(true);
    expect(await failed).toMatchObject([
      { code: "ETIMEDOUT", syscall: "connect", address: serverAddress(), port: 9, errno: -110 },
    ]);
    expect(turns).toBeGreaterThan(10);
  } finally {
    clearInterval(turning);
    run("server", "iptables", "-D", ...rule);
  }
});

test("listen() on one address of the server, by IPv6 too", async () => {
  const { ipv6 } = lab.host("server").interfaces[1];
  const server = listen(keep(createServer()), { port, host: ipv6, netns: netnsOf("server") });
  await once(server, "listening");
  expect(server.address()).toEqual({ address: ipv6, port, family: "IPv6" });
  const client = keep(connect({ port, host: ipv6, netns: netnsOf("client") }));
  await once(client, "connect");
  expect(client.mptcp.fallback).toBe(false);
});
