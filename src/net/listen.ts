/**
 * Makes a server listen on MPTCP: its listening socket is made by system calls and handed to it, which then accepts as ever.
 * The kernel gives plain TCP sockets for peers that do not speak MPTCP.
 */
import { lookup } from "node:dns";
import net from "node:net";
import { getSystemErrorMap } from "node:util";
import { SystemCallError } from "../linux/ffi.ts";
import { interfaceIndex } from "../linux/interfaces.ts";
import { withNetns, type NetworkNamespace } from "../linux/netns.ts";
import { encodeSockaddr, familyOf, AF_INET6 } from "../linux/sockaddr.ts";
import * as sock from "../linux/socket-calls.ts";
import { openStream, type Opened } from "./handle.ts";
import { attach, Mptcp } from "./mptcp.ts";
import { isPortText } from "./socket.ts";

const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const SO_REUSEPORT = 15;
const defaultBacklog = 511;

export type ListenOptions = net.ListenOptions & {
  /** Several processes, or workers of a cluster, may listen on the port; the kernel spreads connections over them. */
  readonly reusePort?: boolean;
  /** Where the socket is made; host names are looked up where the process is. */
  readonly netns?: NetworkNamespace;
};

/** What a server says of its listening socket. */
export type ListenerState = {
  /** Whether it takes MPTCP connections. */
  readonly enabled: boolean;
  /** Why not, if so: what the kernel said to it, e.g. ENOPROTOOPT when net.mptcp.enabled is 0. */
  readonly refusal: string | undefined;
};

type Address = { readonly address: string; readonly port: number };
type Begun = { readonly options: ListenOptions & { port: number }; readonly backlog: number };

const states = new WeakMap<net.Server, ListenerState>();
/** The latest call of listen() on each server, while it waits for a lookup. */
const waiting = new WeakMap<net.Server, Begun>();

/** What is known of a server that listens by MPTCP, or did last. */
export function listenerState(server: net.Server): ListenerState {
  return states.get(server) ?? { enabled: false, refusal: undefined };
}

/**
 * As `server.listen()`, for any server of `net`, `http`, `https`, `tls`, `http2`: the same arguments, events and errors. The
 * sockets of its events "connection" and "secureConnection" have `mptcp`. Paths, handles and descriptors are left to Node.
 * In a worker of a cluster the server listens by itself (see `reusePort`).
 */
export function listen<T extends net.Server>(
  server: T,
  port?: number,
  hostname?: string,
  backlog?: number,
  listener?: () => void,
): T;
export function listen<T extends net.Server>(server: T, port?: number, hostname?: string, listener?: () => void): T;
export function listen<T extends net.Server>(server: T, port?: number, backlog?: number, listener?: () => void): T;
export function listen<T extends net.Server>(server: T, port?: number, listener?: () => void): T;
export function listen<T extends net.Server>(server: T, options: ListenOptions, listener?: () => void): T;
export function listen<T extends net.Server>(server: T, ...args: unknown[]): T;
export function listen<T extends net.Server>(server: T, ...args: unknown[]): T {
  const begun = server.listening ? undefined : tcpArguments(args);
  // What is not about TCP, or wrong, is Node's to do or to refuse.
  if (!begun) return listenByNode(server, args) as T;
  const listener = args.at(-1);
  if (typeof listener === "function") server.once("listening", listener as () => void);
  closeOnAbort(server, begun.options.signal);
  waiting.set(server, begun);
  const { host, port } = begun.options;
  if (!host) {
    listenOn(server, begun, undefined);
    return server;
  }
  const forget = () => waiting.delete(server);
  server.once("close", forget);
  lookup(host, (error, address) => {
    server.off("close", forget);
    if (waiting.get(server) !== begun) return;
    if (error) server.emit("error", error);
    else listenOn(server, begun, { address, port });
  });
  return server;
}

/** Not the server's own method, which may be the one that called here. */
function listenByNode(server: net.Server, args: readonly unknown[]): net.Server {
  return net.Server.prototype.listen.apply(server, args as Parameters<net.Server["listen"]>);
}

/** @returns undefined for arguments that name no TCP port. */
function tcpArguments(args: readonly unknown[]): Begun | undefined {
  const [first, second, third] = args;
  if (typeof first === "object" && first !== null) {
    const options = first as ListenOptions & { fd?: unknown; _handle?: unknown; handle?: unknown };
    if (options._handle || options.handle || options.fd !== undefined || !("port" in options)) return undefined;
    return begin({ ...options }, options.port ?? 0, options.backlog ?? second);
  }
  const port = typeof first === "function" || first === undefined || first === null ? 0 : first;
  const host = typeof second === "string" ? { host: second } : {};
  return begin(host, port, toNumber(second) || toNumber(third));
}

function begin(options: ListenOptions, port: unknown, backlog: unknown): Begun | undefined {
  if (typeof port === "string" && !isPortText(port)) return undefined;
  if ((typeof port !== "string" && typeof port !== "number") || !isPort(Number(port))) return undefined;
  return { options: { ...options, port: Number(port) }, backlog: toNumber(backlog) || defaultBacklog };
}

const isPort = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 65_535;
const toNumber = (value: unknown): number => (typeof value === "number" ? value : 0);

function closeOnAbort(server: net.Server, signal: AbortSignal | undefined): void {
  if (!signal) return;
  const close = () => server.close();
  if (signal.aborted) process.nextTick(close);
  else {
    signal.addEventListener("abort", close, { once: true });
    server.once("close", () => signal.removeEventListener("abort", close));
  }
}

/** Without an address: on all, IPv6 and IPv4, as Node does. */
function listenOn(server: net.Server, begun: Begun, address: Address | undefined): void {
  waiting.delete(server);
  const { port } = begun.options;
  let opened: Opened;
  try {
    opened = address ? openListener(begun, address) : openAnyListener(begun, port);
  } catch (error) {
    const seen = error instanceof ListenError ? error.forNode : error;
    process.nextTick(() => server.emit("error", seen));
    return;
  }
  states.set(server, { enabled: opened.refusal === undefined, refusal: opened.refusal });
  attachToAccepted(server);
  // Given as a handle: in workers of a cluster a number would be taken for a descriptor of the primary process.
  const holder = new net.Socket({ fd: opened.fd, manualStart: true } as net.SocketConstructorOpts);
  listenByNode(server, [holder, begun.backlog]);
}

function openAnyListener(begun: Begun, port: number): Opened {
  try {
    return openListener(begun, { address: "::", port });
  } catch (error) {
    const withoutIpv6 = error instanceof ListenError && ["EAFNOSUPPORT", "EADDRNOTAVAIL"].includes(error.forNode.code);
    if (!withoutIpv6) throw error;
    return openListener(begun, { address: "0.0.0.0", port });
  }
}

/** @throws ListenError */
function openListener({ options, backlog }: Begun, to: Address): Opened {
  const family = familyOf(to.address);
  let fd: number | undefined;
  try {
    const opened = openStream(family, options.netns);
    fd = opened.fd;
    sock.setOption(fd, sock.SOL_SOCKET, sock.SO_REUSEADDR, 1);
    if (options.reusePort) sock.setOption(fd, sock.SOL_SOCKET, SO_REUSEPORT, 1);
    if (family === AF_INET6) sock.setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.ipv6Only ? 1 : 0);
    sock.bindSocket(
      fd,
      withNetns(options.netns, () => sockaddrWithZone(to)),
    );
    sock.listenSocket(fd, backlog);
    return opened;
  } catch (error) {
    if (fd !== undefined) sock.closeSocket(fd);
    if (error instanceof SystemCallError) throw new ListenError(error.errno, to);
    throw error;
  }
}

/** The zone of a link-local address, which may be the name of an interface or its number. */
function sockaddrWithZone(to: Address): Uint8Array {
  const SIN6_SCOPE_ID = 24;
  const bytes = encodeSockaddr(to);
  const zone = /%(.+)$/.exec(to.address)?.[1];
  if (zone !== undefined) {
    const index = /^\d+$/.test(zone) ? Number(zone) : interfaceIndex(zone);
    new DataView(bytes.buffer).setUint32(SIN6_SCOPE_ID, index, true);
  }
  return bytes;
}

type NodeError = Error & { code: string; errno: number; syscall: string; address: string; port?: number };

/** Carries the error that Node would give. */
class ListenError extends Error {
  readonly forNode: NodeError;
  constructor(errno: number, { address, port }: Address) {
    const [code, text] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, "unknown error"];
    const message = `listen ${code}: ${text} ${address}${port > 0 ? `:${port}` : ""}`;
    super(message);
    const details = { code, errno: -errno, syscall: "listen", address, ...(port > 0 && { port }) };
    this.forNode = Object.assign(new Error(message), details);
  }
}

/** While the server listens by this call, its sockets get `mptcp`, before anybody else sees them. */
function attachToAccepted(server: net.Server): void {
  const { refusal } = listenerState(server);
  const onConnection = (socket: net.Socket) => void attach(socket, new Mptcp(socket, { refusal }));
  const names = ["connection", "secureConnection"];
  for (const name of names) server.prependListener(name, onConnection);
  server.once("close", () => {
    for (const name of names) server.off(name, onConnection);
  });
}
