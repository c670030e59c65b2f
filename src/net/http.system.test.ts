import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import type { TLSSocket } from "node:tls";
import type { buildConnector } from "undici-types";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  connect,
  connectTls,
  type ConnectOptions,
  HttpAgent,
  HttpsAgent,
  listen,
  mptcpOf,
  undiciConnect,
} from "./index.ts";
import { makeCertificate } from "./testing/certificate.ts";

// HTTP clients and servers of Node over MPTCP. Each answer says what the server knew of its connection.

const { key, cert } = makeCertificate();
const servers: (http.Server | https.Server)[] = [];
let httpPort: number;
let httpsPort: number;

beforeAll(async () => {
  servers.push(http.createServer(answer), https.createServer({ key, cert }, answer));
  for (const server of servers) await once(listen(server, 0, "127.0.0.1"), "listening");
  [httpPort, httpsPort] = servers.map((server) => (server.address() as net.AddressInfo).port);
});
afterAll(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

const answer: http.RequestListener = (request, response) => {
  const { enabled, fallback } = mptcpOf(request.socket);
  const { remotePort } = request.socket;
  request.resume().on("end", () => response.end(JSON.stringify({ enabled, fallback, remotePort })));
};

/** Answers at once, with two addresses of which the second is the server's. */
const lookup: net.LookupFunction = (_name, _options, callback) =>
  (callback as (error: null, all: object[]) => void)(null, [
    { address: "::1", family: 6 },
    { address: "127.0.0.1", family: 4 },
  ]);

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const closed = net.createServer().listen(0, "127.0.0.1");
  await once(closed, "listening");
  const { port } = closed.address() as net.AddressInfo;
  closed.close();
  return port;
}

const overMptcp = expect.objectContaining({ enabled: true, fallback: false });

async function ask(options: https.RequestOptions & { secure?: boolean }): Promise<{ remotePort: number }> {
  const { secure = false, ...rest } = options;
  const port = secure ? httpsPort : httpPort;
  const request = (secure ? https : http).get({ host: "localhost", port, family: 4, ca: cert, ...rest });
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk as string;
  return JSON.parse(text) as { remotePort: number };
}

describe.each([
  { name: "HttpAgent", Agent: HttpAgent, secure: false },
  { name: "HttpsAgent", Agent: HttpsAgent, secure: true },
])("$name", ({ Agent, secure }) => {
  test("asks by MPTCP and keeps the connection for the next request", async () => {
    const agent = new Agent({ keepAlive: true });
    try {
      const answers = [await ask({ agent, secure }), await ask({ agent, secure })];
      expect(answers).toEqual([overMptcp, overMptcp]);
      expect(answers[1].remotePort).toBe(answers[0].remotePort);
    } finally {
      agent.destroy();
    }
  });

  test("reports a refused connection at the request", async () => {
    const port = await freePort();
    const agent = new Agent();
    await expect(ask({ agent, secure, port })).rejects.toMatchObject({ code: "ECONNREFUSED", port });
  });

  test("tries a name's addresses, by a lookup that answers at once", async () => {
    const agent = new Agent();
    expect(await ask({ agent, secure, lookup, family: 0, autoSelectFamily: true } as https.RequestOptions)).toEqual(
      overMptcp,
    );
  });
});

test("an https client resumes its TLS session on a second connection", async () => {
  const agent = new HttpsAgent({ maxCachedSessions: 10 });
  const resumed: boolean[] = [];
  for (let i = 0; i < 2; i++) {
    const request = https.get({ host: "localhost", port: httpsPort, family: 4, ca: cert, agent });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    resumed.push((response.socket as TLSSocket).isSessionReused());
    await once(response.resume(), "end");
  }
  expect(resumed).toEqual([false, true]);
});

test("connectTls() is TLS over MPTCP, and refuses a certificate that nobody vouches for", async () => {
  const port = httpsPort;
  const socket = connectTls({ host: "127.0.0.1", port, ca: cert, servername: "localhost" });
  await once(socket, "secureConnect");
  expect(socket.mptcp).toMatchObject({ enabled: true, fallback: false });
  expect(socket.mptcp.subflows()).toHaveLength(1);
  socket.destroy();
  await expect(once(connectTls({ host: "127.0.0.1", port }), "secureConnect")).rejects.toMatchObject({
    code: "DEPTH_ZERO_SELF_SIGNED_CERT",
  });
});

test("connectTls() does not connect when its signal is aborted", async () => {
  const connections = vi.fn();
  servers[1].on("connection", connections);
  const socket = connectTls({ host: "127.0.0.1", port: httpsPort, signal: AbortSignal.abort() });
  expect(await once(socket, "error")).toMatchObject([{ name: "AbortError" }]);
  // Another one's connection arrives after any of the aborted one.
  expect(await ask({ agent: new HttpsAgent(), secure: true })).toEqual(overMptcp);
  expect(connections).toHaveBeenCalledTimes(1);
  servers[1].off("connection", connections);
});

test("connectTls() starts TLS on a connected socket", async () => {
  const plain = connect(httpsPort, "127.0.0.1");
  await once(plain, "connect");
  const socket = connectTls({ socket: plain, ca: cert, servername: "localhost" });
  await once(socket, "secureConnect");
  expect(socket.mptcp).toMatchObject({ enabled: true, fallback: false });
  socket.destroy();
});

test("http.get() takes connect() as its createConnection", async () => {
  expect(await ask({ createConnection: (options) => connect(options as ConnectOptions) })).toEqual(overMptcp);
});

test("an http server takes MPTCP sockets by its event connection", async () => {
  const server = http.createServer((request, response) => response.end(String(mptcpOf(request.socket).enabled)));
  const raw = listen(
    net.createServer((socket) => void server.emit("connection", socket)),
    0,
    "127.0.0.1",
  );
  await once(raw, "listening");
  const { port } = raw.address() as net.AddressInfo;
  const agent = new HttpAgent();
  expect(await ask({ agent, port })).toBe(true);
  raw.close();
});

describe("undiciConnect()", () => {
  type Dispatcher = { close(): Promise<void>; destroy(): Promise<void> };
  type Agent = new (options: { connect: buildConnector.connector; connections?: number }) => Dispatcher;

  /** Of the undici that is part of Node: the class of what `fetch` uses when it is told nothing. */
  async function builtInAgent(): Promise<Agent> {
    await fetch("data:,");
    const known = globalThis as unknown as Record<symbol, object>;
    return known[Symbol.for("undici.globalDispatcher.1")].constructor as Agent;
  }

  test.each(["http", "https"] as const)("has fetch() ask by MPTCP: %s", async (protocol) => {
    const Agent = await builtInAgent();
    const dispatcher = new Agent({ connect: undiciConnect({ ca: cert }), connections: 1 });
    try {
      const port = protocol === "http" ? httpPort : httpsPort;
      const url = `${protocol}://localhost:${port}/`;
      const answers: unknown[] = [];
      for (let i = 0; i < 2; i++) {
        const response = await fetch(url, { dispatcher } as unknown as RequestInit);
        answers.push(await response.json());
      }
      expect(answers).toEqual([overMptcp, overMptcp]);
      expect(answers[0]).toEqual(answers[1]);
    } finally {
      await dispatcher.destroy();
    }
  });

  test("gives up after its timeout", async () => {
    const silent = net.createServer(() => {}).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as net.AddressInfo;
    const sockets: net.Socket[] = [];
    silent.on("connection", (socket) => sockets.push(socket.on("error", () => {})));
    const answer = await new Promise<unknown[]>((resolve) => {
      const request = { hostname: "127.0.0.1", protocol: "https:", port: String(port) };
      undiciConnect({ timeout: 100 })(request, (...given) => resolve(given));
    });
    expect(answer).toMatchObject([{ code: "UND_ERR_CONNECT_TIMEOUT" }, null]);
    for (const socket of sockets) socket.destroy();
    silent.close();
  });

  test("has fetch() fail with the connection's error", async () => {
    const Agent = await builtInAgent();
    const dispatcher = new Agent({ connect: undiciConnect() });
    const port = await freePort();
    const failing = fetch(`http://127.0.0.1:${port}/`, { dispatcher } as unknown as RequestInit);
    await expect(failing).rejects.toMatchObject({ cause: { code: "ECONNREFUSED", port } });
    const untrusted = fetch(`https://localhost:${httpsPort}/`, { dispatcher } as unknown as RequestInit);
    await expect(untrusted).rejects.toMatchObject({ cause: { code: "DEPTH_ZERO_SELF_SIGNED_CERT" } });
    await dispatcher.destroy();
  });
});
