/**
 * Gives a socket of `node:net` (or `node:tls`) MPTCP underneath, before it connects.
 *
 * Node makes a TCP handle for each attempt to connect and lets libuv call socket(2) when the handle is first bound or
 * connected. Here the handle is given a descriptor at that moment, of the family that is asked for and of IPPROTO_MPTCP. All
 * else stays Node's: lookup, attempts by address family, non-blocking connect, errors, abort, closing of descriptors.
 */
import net from "node:net";
import { errnos, SystemCallError } from "../linux/ffi.ts";
import { withNetns, type NetworkNamespace } from "../linux/netns.ts";
import { AF_INET, AF_INET6 } from "../linux/sockaddr.ts";
import { closeSocket, hasErrno, openSocket, SOCK_NONBLOCK, SOCK_STREAM } from "../linux/socket-calls.ts";
import { attach, Mptcp, type MptcpSocket } from "./mptcp.ts";

const IPPROTO_TCP = 6;
const IPPROTO_MPTCP = 262;

/** What Node calls on the TCP handle under a socket; results are 0 or a negative errno. */
type TcpHandle = { readonly fd: number; open(fd: number): number } & Record<
  Method,
  (this: TcpHandle, ...args: never[]) => number
>;
/** A handle that encrypts for another one, or a pipe's, or none. */
type AnyHandle = (Partial<TcpHandle> & { readonly _parent?: AnyHandle }) | null | undefined;

const methods = [
  ["connect", AF_INET],
  ["bind", AF_INET],
  ["connect6", AF_INET6],
  ["bind6", AF_INET6],
] as const;
type Method = (typeof methods)[number][0];

export type Opened = {
  readonly fd: number;
  /** Why the socket is plain TCP: what socket(2) said to MPTCP, e.g. ENOPROTOOPT when net.mptcp.enabled is 0. */
  readonly refusal: string | undefined;
};

/** A new socket of a family, or a negative errno. */
type Open = (family: number) => Opened | number;

/**
 * A socket of IPPROTO_MPTCP, or of TCP where the kernel has no MPTCP or refuses it.
 * @throws SystemCallError where TCP would fail too, e.g. EMFILE.
 */
export function openStream(family: number, netns?: NetworkNamespace): Opened {
  const open = (protocol: number) => withNetns(netns, () => openSocket(family, SOCK_STREAM | SOCK_NONBLOCK, protocol));
  try {
    return { fd: open(IPPROTO_MPTCP), refusal: undefined };
  } catch (error) {
    if (!(error instanceof SystemCallError) || hasErrno(error, "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")) throw error;
    return { fd: open(IPPROTO_TCP), refusal: error.code };
  }
}

/**
 * Makes a socket that has not begun to connect use MPTCP when it does, and gives it `mptcp`. Sockets that connect to a path
 * are left as they are.
 * @throws Error when the socket is connected already, or this version of Node has other handles.
 */
export function useMptcp<T extends net.Socket>(socket: T, options: { netns?: NetworkNamespace } = {}): MptcpSocket<T> {
  const mptcp = new Mptcp(socket);
  const inherited = Object.getOwnPropertyDescriptor(net.Socket.prototype, "_handle");
  if (!inherited?.get || !inherited.set) throw unknownHandle();
  const open = (family: number): Opened | number => {
    try {
      return openStream(family, options.netns);
    } catch (error) {
      if (error instanceof SystemCallError) return -error.errno;
      // Of a namespace that is not there: no errno tells that.
      socket.destroy(error as Error);
      return -errnos["ECANCELED"];
    }
  };
  const prepare = (handle: AnyHandle) => {
    if (handle) prepareHandle(handle, mptcp, open);
    return handle;
  };
  if ((outermost(socket)?.fd ?? -1) >= 0) throw new Error("Cannot use MPTCP: the socket has begun to connect");
  // Node puts a new handle in place for each further address it tries.
  Object.defineProperty(socket, "_handle", {
    configurable: true,
    get: () => inherited.get?.call(socket) as AnyHandle,
    set(handle: AnyHandle) {
      inherited.set?.call(socket, prepare(handle));
    },
  });
  prepare(inherited.get.call(socket) as AnyHandle);
  return attach(socket, mptcp);
}

const outermost = (socket: net.Socket): AnyHandle => (socket as unknown as { _handle: AnyHandle })._handle;

function prepareHandle(outer: NonNullable<AnyHandle>, mptcp: Mptcp, open: Open): void {
  let handle = outer;
  while (handle._parent) handle = handle._parent;
  // A pipe connects to paths only.
  if (!("connect6" in handle)) return;
  if (!isTcpHandle(handle)) throw unknownHandle();
  const tcp = handle;
  for (const [name, family] of methods) {
    const inherited = tcp[name];
    tcp[name] = (...args) => {
      const error = tcp.fd >= 0 ? 0 : giveDescriptor(tcp, open(family), mptcp);
      return error === 0 ? inherited.apply(tcp, args) : error;
    };
  }
}

/** @returns 0, or a negative errno for Node to make an error of. */
function giveDescriptor(handle: TcpHandle, opened: Opened | number, mptcp: Mptcp): number {
  if (typeof opened === "number") return opened;
  const error = handle.open(opened.fd);
  if (error === 0) mptcp.opened(opened);
  else closeSocket(opened.fd);
  return error;
}

function isTcpHandle(handle: object): handle is TcpHandle {
  const known = handle as Partial<TcpHandle>;
  const names = ["open", ...methods.map(([name]) => name)] as const;
  return typeof known.fd === "number" && names.every((name) => typeof known[name] === "function");
}

function unknownHandle(): Error {
  return new Error(`Cannot use MPTCP: sockets of Node ${process.version} are not made as those of versions 20 to 24`);
}
