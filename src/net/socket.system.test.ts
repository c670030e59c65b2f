import { once } from "node:events";
import net from "node:net";
import { expect, test, vi } from "vitest";
import { connect, createServer, mptcpOf, Socket, useMptcp, type MptcpSocket, type Server } from "./index.ts";
import { descriptors, keep, portOf } from "./testing/sockets.ts";

// Sockets on the loopback interface, beside node:net's.

/** Answers at once, with two addresses of which the second is the server's. */
const lookup: net.LookupFunction = (_name, _options, callback) =>
  (callback as (error: null, all: object[]) => void)(null, [
    { address: "::1", family: 6 },
    { address: "127.0.0.1", family: 4 },
  ]);

async function echoServer(options: net.ServerOpts = {}): Promise<Server> {
  const server = keep(
    createServer(options, (socket) =>
      keep(socket)
        .on("error", () => {})
        .pipe(socket),
    ),
  );
  await once(server.listen(0, "127.0.0.1"), "listening");
  return server;
}

/** The error of a socket that does not get to connect, without what differs from run to run. */
async function errorOf(socket: net.Socket): Promise<object> {
  keep(socket);
  const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException & { address?: string; port?: number }];
  const { name, message, code, errno, syscall, address, port } = error;
  return { name, message, code, errno, syscall, address, port };
}

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const port = portOf(server);
  server.close();
  return port;
}

test("connect() makes an MPTCP connection to createServer(), and each end tells of it", async () => {
  const server = await echoServer();
  const accepted = once(server, "connection") as Promise<[MptcpSocket]>;
  const client = keep(connect(portOf(server), "127.0.0.1"));
  await once(client, "connect");
  const [peer] = await accepted;
  client.write("hello");
  expect(String((await once(client, "data"))[0])).toBe("hello");
  for (const { mptcp } of [client, peer, server])
    expect({ enabled: mptcp.enabled, refusal: mptcp.refusal }).toEqual({ enabled: true, refusal: undefined });
  for (const { mptcp } of [client, peer]) {
    expect(mptcp.fallback).toBe(false);
    expect(mptcp.info().token).not.toBe(0);
  }
  const [{ local, remote, tcp }] = client.mptcp.subflows();
  expect(local).toEqual({ address: "127.0.0.1", port: client.localPort });
  expect(remote).toEqual({ address: "127.0.0.1", port: portOf(server) });
  expect(tcp.sndCwnd).toBeGreaterThan(0);
  await vi.waitFor(() => expect(client.mptcp.info()).toMatchObject({ bytesSent: 5, bytesReceived: 5 }));
});

test("connect() takes the arguments of net.connect()", async () => {
  const server = await echoServer();
  const port = portOf(server);
  const listener = vi.fn();
  const sockets = [
    connect(port, "127.0.0.1", listener),
    connect({ port, host: "127.0.0.1" }, listener),
    connect(String(port) as unknown as number, "127.0.0.1", listener),
    connect({ port, host: "localhost", family: 4, noDelay: true, keepAlive: true, timeout: 5000 }, listener),
    new Socket().connect(port, "127.0.0.1", listener),
    useMptcp(new net.Socket()).connect({ port, host: "127.0.0.1", localAddress: "127.0.0.3" }, listener),
  ].map(keep) as MptcpSocket[];
  await vi.waitFor(() => expect(listener).toHaveBeenCalledTimes(sockets.length));
  expect(sockets.map(({ mptcp }) => mptcp.fallback)).toEqual(sockets.map(() => false));
  expect(sockets[3].timeout).toBe(5000);
  expect(sockets[5].localAddress).toBe("127.0.0.3");
});

test("connect() sends what was written before it was connected, and binds the local port asked for", async () => {
  const server = await echoServer();
  const localPort = await freePort();
  const client = keep(connect({ port: portOf(server), host: "127.0.0.1", localPort }));
  client.write("early");
  expect(String((await once(client, "data"))[0])).toBe("early");
  expect(client.localPort).toBe(localPort);
});

test("connect() tries a name's addresses one after the other", async () => {
  const server = await echoServer();
  const before = descriptors();
  const client = keep(connect({ port: portOf(server), host: "two.example", lookup, autoSelectFamily: true }));
  await once(client, "connect");
  expect(client.remoteAddress).toBe("127.0.0.1");
  expect(client.mptcp.fallback).toBe(false);
  // The connection's two ends.
  await vi.waitFor(() => expect(descriptors()).toBe(before + 2));
});

test("connect() reports errors as net.connect() does and leaves no descriptor", async () => {
  const port = await freePort();
  const cases: net.NetConnectOpts[] = [
    { port, host: "127.0.0.1" },
    { port, host: "127.0.0.1", localAddress: "192.0.2.1" },
    { port, host: "no-such-host.invalid" },
    { port, host: "255.255.255.255" },
  ];
  for (const options of cases) {
    const expected = await errorOf(net.connect(options));
    const before = descriptors();
    const local = "localAddress" in options ? options.localAddress : undefined;
    expect(await errorOf(connect(options)), local ?? JSON.stringify(options)).toEqual(expected);
    expect(descriptors()).toBe(before);
  }
});

test("connect() ends by its signal, by destroy() at any time, and leaves no descriptor", async () => {
  const before = descriptors();
  const listening = keep(net.createServer((socket) => socket.on("error", () => {}).resume()).listen(0, "127.0.0.1"));
  await once(listening, "listening");
  const there = { port: portOf(listening), host: "localhost", family: 4 };

  const aborted = connect({ ...there, signal: AbortSignal.abort() });
  expect(await once(aborted, "error")).toMatchObject([{ name: "AbortError" }]);

  const controller = new AbortController();
  const later = connect({ ...there, signal: controller.signal });
  const abortion = once(later, "error");
  controller.abort();
  expect(await abortion).toMatchObject([{ name: "AbortError" }]);

  const destroyed = connect(there);
  destroyed.destroy();
  await once(destroyed, "close");

  const midway = connect(there);
  midway.once("lookup", () => process.nextTick(() => midway.destroy()));
  await once(midway, "close");

  const never = new Socket();
  never.destroy();
  await once(never, "close");

  listening.close();
  await vi.waitFor(() => expect(descriptors()).toBe(before));
});

test("socket.mptcp says fallback on both sides of a plain TCP peer, with TCP's one flow", async () => {
  const plain = keep(net.createServer((socket) => keep(socket).pipe(socket)).listen(0, "127.0.0.1"));
  await once(plain, "listening");
  const client = keep(connect(portOf(plain), "127.0.0.1"));
  await once(client, "connect");
  client.write("x");
  await once(client, "data");
  expect(client.mptcp).toMatchObject({ enabled: true, fallback: true });
  expect(client.mptcp.subflows()).toMatchObject([
    { local: { port: client.localPort }, remote: { address: "127.0.0.1", port: portOf(plain) } },
  ]);

  const server = await echoServer();
  const accepted = once(server, "connection") as Promise<[MptcpSocket]>;
  const tcp = keep(net.connect(portOf(server), "127.0.0.1"));
  const [peer] = await accepted;
  expect(peer.mptcp).toMatchObject({ enabled: true, fallback: true });
  expect(peer.mptcp.subflows()).toMatchObject([{ remote: { port: tcp.localPort } }]);
  expect(peer.mptcp.info()).toMatchObject({ fallback: true, subflows: [] });
  expect(mptcpOf(tcp)).toMatchObject({ enabled: false, fallback: true });
});

test("socket.mptcp refuses to tell of a socket that is not connected, and keeps what fallback was", async () => {
  const server = await echoServer();
  const client = keep(connect(portOf(server), "127.0.0.1"));
  const state = { enabled: false, fallback: false };
  expect(client.mptcp).toMatchObject(state);
  expect(() => client.mptcp.info()).toThrow("the socket is not connected");
  await once(client, "connect");
  client.destroy();
  expect(() => client.mptcp.subflows()).toThrow("the socket is not connected");
  expect(client.mptcp).toMatchObject({ enabled: true, fallback: false });
});

test("allowHalfOpen on both sides lets a server answer after the client's end", async () => {
  const server = keep(
    createServer({ allowHalfOpen: true }, (socket) => {
      let length = 0;
      socket.on("data", (chunk: Buffer) => void (length += chunk.length));
      socket.on("end", () => setTimeout(() => socket.end(`got ${length}`), 20));
    }),
  );
  await once(server.listen(0), "listening");
  const client = keep(connect({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true }));
  client.end(Buffer.alloc(100_000));
  const chunks: Buffer[] = [];
  for await (const chunk of client) chunks.push(chunk as Buffer);
  expect(String(Buffer.concat(chunks))).toBe("got 100000");
});

test("resetAndDestroy() resets the connection", async () => {
  const server = keep(createServer());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const accepted = once(server, "connection") as Promise<[MptcpSocket]>;
  const client = keep(connect(portOf(server), "127.0.0.1"));
  const [peer] = await accepted;
  peer.resume();
  const failed = once(peer, "error");
  client.resetAndDestroy();
  expect(await failed).toMatchObject([{ code: "ECONNRESET" }]);
});

test("500 connections at once all carry data by MPTCP, and leave no descriptor", async () => {
  const before = descriptors();
  const server = await echoServer();
  const clients = Array.from({ length: 500 }, (_, i) => {
    const client = connect(portOf(server), "127.0.0.1");
    client.end(`client ${i}`);
    return client;
  });
  const answers = await Promise.all(
    clients.map(async (client) => {
      let text = "";
      for await (const chunk of client.setEncoding("utf8")) text += chunk as string;
      return text;
    }),
  );
  expect(answers).toEqual(clients.map((_, i) => `client ${i}`));
  expect(clients.filter(({ mptcp }) => !mptcp.enabled || mptcp.fallback)).toEqual([]);
  server.close();
  await vi.waitFor(() => expect(descriptors()).toBeLessThanOrEqual(before), { timeout: 5000 });
});

test("connect() and listen() fail with an event where the namespace is unknown", async () => {
  const netns = `none-${process.pid}`;
  const before = descriptors();
  const missing = [{ message: expect.stringContaining("no such namespace") as string }];
  expect(await once(connect({ port: 9, host: "127.0.0.1", netns }), "error")).toMatchObject(missing);
  expect(await once(createServer().listen({ port: 0, netns }), "error")).toMatchObject(missing);
  await vi.waitFor(() => expect(descriptors()).toBe(before));
});

test("connect() to a path is a Unix domain socket, which has no state of MPTCP", async () => {
  const path = `\0emptcp-net-${process.pid}`;
  const server = keep(createServer((socket) => keep(socket).resume()).listen(path));
  await once(server, "listening");
  const client = keep(connect(path));
  await once(client, "connect");
  expect(client.mptcp).toMatchObject({ enabled: false, fallback: false });
  expect(() => client.mptcp.info()).toThrow("none of TCP or MPTCP");
});

test("one Socket connects again and again, each time by MPTCP", async () => {
  const server = await echoServer();
  const client = keep(new Socket());
  for (let i = 0; i < 3; i++) {
    client.connect(portOf(server), "127.0.0.1");
    await once(client, "connect");
    expect(client.mptcp.info()).toMatchObject({ fallback: false });
    client.destroy();
    await once(client, "close");
  }
});
