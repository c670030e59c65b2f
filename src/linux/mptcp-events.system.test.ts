import { spawnSync } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { dumpMptcpSockets, dumpTcpSockets } from "./diag.ts";
import { watchPathManager, type MptcpEvent } from "./mptcp-events.ts";
import { createNetns, deleteNetns, withNetns } from "./netns.ts";
import { connectMptcp, listenMptcp } from "./sockets.ts";

const name = `emptcp-events-${process.pid}`;

beforeEach(() => {
  createNetns(name);
  withNetns(name, () => spawnSync("ip", ["link", "set", "lo", "up"]));
});
afterEach(() => deleteNetns(name));

test("watchPathManager() tells of connections of its namespace, whose tokens dumpMptcpSockets() lists while they last", async () => {
  const events: MptcpEvent[] = [];
  using _reader = watchPathManager({ event: (event) => events.push(event) }, { netns: name });
  const server = await listenMptcp({ address: "127.0.0.1", port: 0, netns: name });
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const { port } = server.address() as AddressInfo;
  const client = await connectMptcp({ address: "127.0.0.1", port, netns: name });
  const [peer] = await accepted;
  peer.resume();
  client.write("hello");

  await vi.waitFor(() => {
    expect(events.filter(({ kind }) => kind === "established")).toHaveLength(2);
  });
  const established = events.filter(({ kind }) => kind === "established");
  const listed = dumpMptcpSockets(name).filter(({ state }) => state === "established");
  expect(new Set(listed.map(({ info }) => info.token))).toEqual(new Set(established.map(({ token }) => token)));
  const client1 = established.find(({ remote }) => remote?.port === port)!;
  const subflow = dumpTcpSockets(name).find(({ mptcp }) => mptcp?.tokenLocal === client1.token)!;
  expect(client1).toMatchObject({ local: subflow.local, remote: subflow.remote });
  expect(new Set(established.map(({ serverSide = false }) => serverSide))).toEqual(new Set([false, true]));
  expect(dumpMptcpSockets()).not.toEqual(expect.arrayContaining(listed));

  client.destroy();
  peer.destroy();
  server.close();
  await vi.waitFor(() => {
    expect(events.filter(({ kind }) => kind === "closed")).toHaveLength(2);
  });
});

test("leaveOut() keeps events away, others not, until others are named", async () => {
  const events: MptcpEvent[] = [];
  using reader = watchPathManager({ event: (event) => events.push(event) }, { netns: name });
  const server = await listenMptcp({ address: "127.0.0.1", port: 0, netns: name });
  server.on("connection", (peer: Socket) => peer.resume());
  const { port } = server.address() as AddressInfo;
  const kindsOfOne = async () => {
    events.length = 0;
    const client = await connectMptcp({ address: "127.0.0.1", port, netns: name });
    client.end("hello");
    await vi.waitFor(() => expect(events.filter(({ kind }) => kind === "closed")).toHaveLength(2));
    const kinds = new Set(events.map(({ kind }) => kind));
    return (["created", "established", "closed"] as const).filter((kind) => kinds.has(kind));
  };
  reader.leaveOut(["created", "listener_created"]);
  expect(await kindsOfOne()).toEqual(["established", "closed"]);
  reader.leaveOut(["established"]);
  expect(await kindsOfOne()).toEqual(["created", "closed"]);
  reader.leaveOut([]);
  expect(await kindsOfOne()).toEqual(["created", "established", "closed"]);
  server.close();
});
