/** What a socket tells of its MPTCP connection: `socket.mptcp`. */
import type net from "node:net";
import { isFallback, mptcpInfo, type MptcpInfo, type MptcpSubflow } from "../linux/mptcp-info.ts";
import { getOption, hasErrno, localAddress, peerAddress, SOL_SOCKET } from "../linux/socket-calls.ts";
import { descriptorOf } from "../linux/sockets.ts";
import { parseTcpInfo } from "../linux/tcp-info.ts";

const IPPROTO_TCP = 6;
const IPPROTO_MPTCP = 262;
const SO_PROTOCOL = 38;
const TCP_INFO = 11;
const tcpInfoBytes = 256;

export type MptcpSocket<T extends net.Socket = net.Socket> = T & { readonly mptcp: Mptcp };

export class Mptcp {
  readonly #socket: net.Socket;
  #enabled = false;
  #refusal: string | undefined;
  #fallback = false;

  constructor(socket: net.Socket, opened?: { readonly refusal: string | undefined }) {
    this.#socket = socket;
    if (opened) this.opened(opened);
  }

  /** For who makes the socket. */
  opened({ refusal }: { readonly refusal: string | undefined }): void {
    this.#enabled = refusal === undefined;
    this.#refusal = refusal;
    this.#fallback = refusal !== undefined;
  }

  /** Whether this side offers MPTCP. False too before the socket has begun to connect. */
  get enabled(): boolean {
    return this.#enabled;
  }

  /** Why this side offers none, if so: what the kernel said to it, e.g. ENOPROTOOPT when net.mptcp.enabled is 0. */
  get refusal(): string | undefined {
    return this.#refusal;
  }

  /**
   * Whether the connection is plain TCP: this side offers no MPTCP, or the peer or a middlebox took no part. A connection may
   * fall back until its first data have been acknowledged. Once the socket is closed: what was last seen.
   */
  get fallback(): boolean {
    if (this.#enabled && !this.#socket.connecting && isOpen(this.#socket)) {
      const fd = descriptorOf(this.#socket);
      this.#fallback = protocolOf(fd) !== IPPROTO_MPTCP || isFallback(fd);
    }
    return this.#fallback;
  }

  /**
   * The connection's state and that of each subflow.
   * @throws Error when the socket is not connected (any more), or to a path, or the kernel is older than 6.5
   */
  info(): MptcpInfo {
    return infoOf(this.#descriptor());
  }

  /** Addresses and TCP's state of each subflow; of the only one there is on plain TCP. @throws as `info()` */
  subflows(): readonly MptcpSubflow[] {
    const fd = this.#descriptor();
    const info = infoOf(fd);
    return info.fallback ? [plainSubflow(fd)] : info.subflows;
  }

  #descriptor(): number {
    if (this.#socket.connecting || !isOpen(this.#socket))
      throw new Error("Cannot ask for the state of the connection: the socket is not connected");
    return descriptorOf(this.#socket);
  }
}

/** The `mptcp` of any connected socket of this process, also of one that `node:net`, `http` or `tls` made. */
export function mptcpOf(socket: net.Socket): Mptcp {
  const known = (socket as Partial<MptcpSocket>).mptcp;
  if (known) return known;
  const isMptcp = protocolOf(descriptorOf(socket)) === IPPROTO_MPTCP;
  return new Mptcp(socket, { refusal: isMptcp ? undefined : "made as TCP" });
}

export function attach<T extends net.Socket>(socket: T, mptcp: Mptcp): MptcpSocket<T> {
  return Object.defineProperty(socket, "mptcp", { value: mptcp, configurable: true }) as MptcpSocket<T>;
}

function infoOf(fd: number): MptcpInfo {
  try {
    return mptcpInfo(fd);
  } catch (cause) {
    if (!hasErrno(cause, "EOPNOTSUPP", "ENOPROTOOPT")) throw cause;
    const reason = "the socket is none of TCP or MPTCP, or the kernel is older than 6.5";
    throw new Error(`Cannot ask for the state of the connection: ${reason}`, { cause });
  }
}

function isOpen(socket: net.Socket): boolean {
  return ((socket as { _handle?: { fd?: number } | null })._handle?.fd ?? -1) >= 0;
}

function protocolOf(fd: number): number {
  const bytes = getOption(fd, SOL_SOCKET, SO_PROTOCOL, new Uint8Array(4));
  return new DataView(bytes.buffer).getInt32(0, true);
}

function plainSubflow(fd: number): MptcpSubflow {
  return {
    local: localAddress(fd),
    remote: peerAddress(fd),
    tcp: parseTcpInfo(getOption(fd, IPPROTO_TCP, TCP_INFO, new Uint8Array(tcpInfoBytes))),
  };
}
