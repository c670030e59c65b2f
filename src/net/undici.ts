/** The connect hook of undici, and so of `fetch`: `new Agent({ connect: undiciConnect() })`. */
import type { Socket as NetSocket } from "node:net";
import { isIP } from "node:net";
import type { TLSSocket } from "node:tls";
import { connectTls, type TlsConnectOptions } from "./http.ts";
import { connect } from "./socket.ts";

export type UndiciConnectOptions = Omit<TlsConnectOptions, "host" | "port" | "path" | "socket"> & {
  /** For TCP and TLS together; 10 s unless said otherwise, 0 for none. */
  readonly timeout?: number;
};

/** What undici asks for; `httpSocket` is a tunnel through a proxy. */
type Request = {
  readonly hostname: string;
  readonly protocol: string;
  readonly port: string;
  readonly servername?: string | null;
  readonly localAddress?: string | null;
  readonly httpSocket?: NetSocket;
};
type Callback = (...answer: [null, NetSocket | TLSSocket] | [Error, null]) => void;

/** @returns a function for `connect` of undici's Agent, Pool or Client: HTTP/1.1 over MPTCP, with TLS for https. */
export function undiciConnect(options: UndiciConnectOptions = {}): (request: Request, callback: Callback) => void {
  const sessions = new SessionCache();
  return (request, callback) => {
    const { hostname, protocol, httpSocket } = request;
    const secure = protocol === "https:";
    const { timeout = 10_000, ...common } = {
      ...options,
      host: hostname.replace(/^\[(.*)\]$/, "$1"),
      port: Number(request.port) || (secure ? 443 : 80),
      ...(request.localAddress && { localAddress: request.localAddress }),
    };
    let socket: NetSocket;
    if (secure) {
      const servername = options.servername ?? request.servername ?? (isIP(common.host) ? "" : common.host);
      const key = `${servername} ${common.host} ${common.port}`;
      const session = options.session ?? sessions.get(key);
      socket = connectTls({
        ALPNProtocols: ["http/1.1"],
        ...common,
        servername,
        ...(session && { session }),
        ...(httpSocket && { socket: httpSocket }),
      });
      socket.on("session", (fresh: Buffer) => sessions.set(key, fresh));
    } else if (httpSocket) {
      callback(null, httpSocket);
      return;
    } else socket = connect(common);
    const timer = timeout > 0 ? setTimeout(() => socket.destroy(timeoutError(request, timeout)), timeout) : undefined;
    let settled = false;
    const settle = (...answer: Parameters<Callback>) => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      callback(...answer);
    };
    socket.setNoDelay(true);
    socket.once(secure ? "secureConnect" : "connect", () => settle(null, socket));
    // Stays: undici listens for errors of its own a little later.
    socket.on("error", (error) => settle(error, null));
    socket.once("close", () => settle(new Error(`Cannot connect to ${hostname}: the socket was closed`), null));
  };
}

function timeoutError({ hostname, port }: Request, timeoutMs: number): Error {
  const message = `Cannot connect to ${hostname}${port && ` port ${port}`}: no connection within ${timeoutMs} ms`;
  return Object.assign(new Error(message), { code: "UND_ERR_CONNECT_TIMEOUT" });
}

/** TLS sessions to resume, of the servers last used. */
class SessionCache {
  static readonly #max = 100;
  readonly #sessions = new Map<string, Buffer>();

  get(key: string): Buffer | undefined {
    return this.#sessions.get(key);
  }

  set(key: string, session: Buffer): void {
    this.#sessions.delete(key);
    this.#sessions.set(key, session);
    if (this.#sessions.size > SessionCache.#max) {
      for (const oldest of this.#sessions.keys()) {
        this.#sessions.delete(oldest);
        break;
      }
    }
  }
}
