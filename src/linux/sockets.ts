/**
 * MPTCP sockets for Node: made, bound and connected by system calls (inside a network namespace where asked) and then handed
 * to `net`, which has no notion of the protocol but reads and writes them like any other stream.
 */
import net from "node:net";
import { errnos, SystemCallError, watch } from "./ffi.ts";
import { withNetns, type NetworkNamespace } from "./netns.ts";
import { AF_INET, familyOf } from "./sockaddr.ts";
import * as sock from "./socket-calls.ts";

const IPPROTO_TCP = 6;
const IPPROTO_MPTCP = 262;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const TCP_CONGESTION = 13;
const TCP_NOTSENT_LOWAT = 25;

export type StreamOptions = {
  /** E.g. "cubic"; the namespace's default otherwise. All subflows get it. */
  readonly congestionControl?: string;
  readonly sendBufferBytes?: number;
  readonly receiveBufferBytes?: number;
  /** Limit of data queued but not yet sent, per connection (TCP_NOTSENT_LOWAT). */
  readonly notsentLowatBytes?: number;
  /** "mptcp" unless said otherwise; "tcp" for comparison. */
  readonly protocol?: "mptcp" | "tcp";
  readonly netns?: NetworkNamespace;
};

export type ListenOptions = StreamOptions & {
  /** "::" takes IPv4 too. Bound to one address, a server gets no joins on its others. */
  readonly address: string;
  /** 0 lets the kernel choose: see `server.address()`. */
  readonly port: number;
  /** What `net.createServer` takes: sockets that stay half open after the peer's FIN. */
  readonly allowHalfOpen?: boolean;
};

export type ConnectOptions = StreamOptions & {
  readonly address: string;
  readonly port: number;
  readonly localAddress?: string;
  readonly timeoutMs?: number;
  readonly allowHalfOpen?: boolean;
};

/** A listening server. @throws SystemCallError, e.g. EPROTONOSUPPORT on a kernel without MPTCP, or EADDRINUSE. */
export async function listenMptcp(options: ListenOptions): Promise<net.Server> {
  const fd = withNetns(options.netns, () =>
    openStream(options, (socket) => {
      sock.setOption(socket, sock.SOL_SOCKET, sock.SO_REUSEADDR, 1);
      if (options.address === "::") sock.setOption(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
      sock.bindSocket(socket, options);
      sock.listenSocket(socket, 128);
    }),
  );
  const server = net.createServer({ allowHalfOpen: options.allowHalfOpen ?? false });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ fd }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  return server;
}

/** A connected socket. @throws SystemCallError, e.g. ECONNREFUSED, or ETIMEDOUT after `timeoutMs` (10 s). */
export async function connectMptcp(options: ConnectOptions): Promise<net.Socket> {
  let connected = false;
  const fd = withNetns(options.netns, () =>
    openStream(options, (socket) => {
      if (options.localAddress !== undefined) sock.bindSocket(socket, { address: options.localAddress, port: 0 });
      connected = sock.connectSocket(socket, options);
    }),
  );
  try {
    if (!connected) await writable(fd, options.timeoutMs ?? 10_000);
    const error = sock.socketError(fd);
    if (error !== 0) throw new SystemCallError("connect", error, `${options.address} port ${options.port}`);
  } catch (error) {
    sock.closeSocket(fd);
    throw error;
  }
  return new net.Socket({ fd, readable: true, writable: true, allowHalfOpen: options.allowHalfOpen ?? false });
}

/** The descriptor under a connected socket. @throws Error when it is closed. */
export function descriptorOf(socket: net.Socket): number {
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  if (fd === undefined || fd < 0) throw new Error("Cannot use the socket: it is closed");
  return fd;
}

function openStream(options: StreamOptions & { address: string }, prepare: (fd: number) => void): number {
  const protocol = options.protocol === "tcp" ? IPPROTO_TCP : IPPROTO_MPTCP;
  const fd = sock.openSocket(familyOf(options.address), sock.SOCK_STREAM | sock.SOCK_NONBLOCK, protocol);
  try {
    if (options.congestionControl !== undefined) setCongestionControl(fd, options.congestionControl);
    const numbers = [
      [sock.SOL_SOCKET, sock.SO_SNDBUF, options.sendBufferBytes],
      [sock.SOL_SOCKET, sock.SO_RCVBUF, options.receiveBufferBytes],
      [IPPROTO_TCP, TCP_NOTSENT_LOWAT, options.notsentLowatBytes],
    ] as const;
    for (const [level, option, value] of numbers) if (value !== undefined) sock.setOption(fd, level, option, value);
    prepare(fd);
    return fd;
  } catch (error) {
    sock.closeSocket(fd);
    throw error;
  }
}

/** MPTCP takes any name and applies it when it makes subflows, without a word if it cannot: plain TCP is asked first. */
function setCongestionControl(fd: number, name: string): void {
  const bytes = new TextEncoder().encode(name);
  const trial = sock.openSocket(AF_INET, sock.SOCK_STREAM, IPPROTO_TCP);
  try {
    sock.setOption(trial, IPPROTO_TCP, TCP_CONGESTION, bytes);
  } catch (cause) {
    throw new Error(`Cannot use congestion control ${name}: not available to this process`, { cause });
  } finally {
    sock.closeSocket(trial);
  }
  sock.setOption(fd, IPPROTO_TCP, TCP_CONGESTION, bytes);
}

function writable(fd: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = watch(
      fd,
      () => {
        clearTimeout(timer);
        stop();
        resolve();
      },
      { writable: true },
    );
    const timer = setTimeout(() => {
      stop();
      reject(new SystemCallError("connect", errnos["ETIMEDOUT"]));
    }, timeoutMs);
  });
}
