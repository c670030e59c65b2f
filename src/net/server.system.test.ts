import { once } from "node:events";
import net from "node:net";
import { expect, test, vi } from "vitest";
import { connect, createServer, listen, type MptcpSocket } from "./index.ts";
import { descriptors, keep, portOf } from "./testing/sockets.ts";

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const port = portOf(server);
  server.close();
  return port;
}

test("listen() takes the arguments of server.listen()", async () => {
  const ports = [await freePort(), await freePort(), await freePort(), await freePort()];
  const listener = vi.fn();
  const servers = [
    createServer().listen(ports[0], "127.0.0.1", 10, listener),
    createServer().listen(ports[1], listener),
    createServer().listen({ port: ports[2], host: "localhost", ipv6Only: false, backlog: 5 }, listener),
    createServer().listen(ports[3], 20, listener),
    createServer().listen(undefined, listener),
    createServer().listen({ port: undefined }, listener),
  ].map(keep);
  await vi.waitFor(() => expect(listener).toHaveBeenCalledTimes(servers.length));
  expect(servers.slice(0, 4).map(portOf)).toEqual(ports);
  expect(servers[1].address()).toMatchObject({ address: "::", family: "IPv6" });
  for (const server of servers) {
    expect(server.mptcp).toEqual({ enabled: true, refusal: undefined });
    // By IPv4 too where no address was asked for.
    const { address } = server.address() as net.AddressInfo;
    const client = keep(connect(portOf(server), address === "::" ? "127.0.0.1" : address));
    await once(client, "connect");
    expect(client.mptcp.fallback).toBe(false);
  }
});

test("listen() reports errors as server.listen() does and leaves no descriptor", async () => {
  const taken = keep(net.createServer().listen(0, "127.0.0.1"));
  await once(taken, "listening");
  const before = descriptors();
  const cases: net.ListenOptions[] = [
    { port: portOf(taken), host: "127.0.0.1" },
    { port: 0, host: "192.0.2.1" },
    { port: 0, host: "no-such-host.invalid" },
  ];
  for (const options of cases) {
    const errors = [net.createServer(), createServer()].map(async (server) => {
      const [error] = (await once(server.listen(options), "error")) as [Error & Record<string, unknown>];
      const { name, message, code, errno, syscall, address, port } = error;
      return { name, message, code, errno, syscall, address, port };
    });
    const [expected, actual] = await Promise.all(errors);
    expect(actual).toEqual(expected);
  }
  for (const wrong of [{ port: 65_536 }, { port: "no number" }, {}, { port: -1 }]) {
    const refusalOf = (server: net.Server) => {
      try {
        return server.listen(wrong as net.ListenOptions).address();
      } catch (error) {
        return { code: (error as NodeJS.ErrnoException).code, message: (error as Error).message };
      }
    };
    expect(refusalOf(createServer())).toEqual(refusalOf(net.createServer()));
  }
  expect(() => createServer().listen(0).listen(0)).toThrow(
    expect.objectContaining({ code: "ERR_SERVER_ALREADY_LISTEN" }),
  );
  await vi.waitFor(() => expect(descriptors()).toBeLessThanOrEqual(before + 1));
});

test("a server closed while its host is looked up does not listen", async () => {
  const before = descriptors();
  const server = createServer();
  server.listen(0, "localhost");
  server.close();
  await once(server, "close");
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(server.listening).toBe(false);
  expect(descriptors()).toBeLessThanOrEqual(before);
});

test("a server listens again after it was closed, and its signal closes it", async () => {
  const server = createServer();
  for (let i = 0; i < 2; i++) {
    await once(server.listen(0, "127.0.0.1"), "listening");
    const accepted = once(server, "connection") as Promise<[MptcpSocket]>;
    const client = connect(portOf(server), "127.0.0.1");
    const [peer] = await accepted;
    expect(peer.mptcp.enabled).toBe(true);
    client.destroy();
    peer.destroy();
    server.close();
    await once(server, "close");
    expect(server.listenerCount("connection")).toBe(0);
  }
  const controller = new AbortController();
  await once(server.listen({ port: 0, signal: controller.signal }), "listening");
  controller.abort();
  await once(server, "close");
});

test("reusePort lets two servers share a port; without it the second is refused", async () => {
  const port = await freePort();
  const two = [keep(createServer()), keep(createServer())];
  for (const server of two) await once(server.listen({ port, reusePort: true }), "listening");
  expect(two.map(portOf)).toEqual([port, port]);
  await expect(once(keep(createServer()).listen({ port }), "listening")).rejects.toMatchObject({ code: "EADDRINUSE" });
});

test("listen() gives any server's sockets mptcp", async () => {
  const server = keep(net.createServer());
  await once(listen(server, 0, "127.0.0.1"), "listening");
  const accepted = once(server, "connection") as Promise<[MptcpSocket]>;
  keep(connect(portOf(server), "127.0.0.1"));
  const [peer] = await accepted;
  keep(peer);
  expect(peer.mptcp).toMatchObject({ enabled: true, fallback: false });
});
