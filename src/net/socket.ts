/** Sockets that connect by MPTCP: `connect()` and `Socket` as `node:net` has them. */
import net from "node:net";
import type { NetworkNamespace } from "../linux/netns.ts";
import { useMptcp } from "./handle.ts";
import type { Mptcp } from "./mptcp.ts";

export type SocketOptions = net.SocketConstructorOpts & {
  /** Where the socket is made; host names are looked up where the process is. */
  readonly netns?: NetworkNamespace;
};

export type ConnectOptions = net.NetConnectOpts & Pick<SocketOptions, "netns" | "signal">;

export class Socket extends net.Socket {
  declare readonly mptcp: Mptcp;

  constructor(options: SocketOptions = {}) {
    super(options);
    useMptcp(this, options);
  }
}

/**
 * As `net.connect()`: the same arguments, events and errors, on MPTCP, or on TCP where the kernel has no MPTCP
 * (`socket.mptcp.enabled`) or the peer takes no part (`socket.mptcp.fallback`). A path connects to a Unix domain socket.
 */
export function connect(options: ConnectOptions, listener?: () => void): Socket;
export function connect(port: number, host?: string, listener?: () => void): Socket;
export function connect(port: number, listener?: () => void): Socket;
export function connect(path: string, listener?: () => void): Socket;
export function connect(...args: unknown[]): Socket {
  const { options, listener } = connectArguments(args);
  const socket = new Socket(options);
  // The socket fails with an AbortError; Node's own would connect all the same, and stay open.
  if (options.signal?.aborted) return socket;
  if (options.timeout) socket.setTimeout(options.timeout);
  return socket.connect(options, listener);
}

export const createConnection = connect;

/** The forms `(options, listener)`, `(port, host, listener)` and `(path, listener)` as the first of them. */
function connectArguments(args: readonly unknown[]): { options: ConnectOptions; listener: (() => void) | undefined } {
  const [first, second] = args;
  const last = args.at(-1);
  const listener = typeof last === "function" ? (last as () => void) : undefined;
  if (typeof first === "object" && first !== null) return { options: first as ConnectOptions, listener };
  if (typeof first === "string" && !isPortText(first)) return { options: { path: first }, listener };
  const host = typeof second === "string" ? { host: second } : {};
  return { options: { port: first as number, ...host }, listener };
}

/** As Node reads it: text that is a number is a port. */
export function isPortText(text: string): boolean {
  return text.trim() !== "" && Number(text) >= 0;
}
