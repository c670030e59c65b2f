/** The socket system calls, with byte arrays for addresses and options. Descriptors are plain numbers; close them. */
import { check, declare, errno, errnos, SystemCallError } from "./ffi.ts";
import { decodeSockaddr, encodeSockaddr, type SocketAddress } from "./sockaddr.ts";

const c = {
  socket: declare("socket", "int", ["int", "int", "int"]),
  bind: declare("bind", "int", ["int", "void *", "uint32_t"]),
  connect: declare("connect", "int", ["int", "void *", "uint32_t"]),
  listen: declare("listen", "int", ["int", "int"]),
  accept4: declare("accept4", "int", ["int", "void *", "void *", "int"]),
  close: declare("close", "int", ["int"]),
  getsockopt: declare("getsockopt", "int", ["int", "int", "int", "void *", "void *"]),
  setsockopt: declare("setsockopt", "int", ["int", "int", "int", "void *", "uint32_t"]),
  getsockname: declare("getsockname", "int", ["int", "void *", "void *"]),
  getpeername: declare("getpeername", "int", ["int", "void *", "void *"]),
  send: declare("send", "long", ["int", "void *", "size_t", "int"]),
  sendto: declare("sendto", "long", ["int", "void *", "size_t", "int", "void *", "uint32_t"]),
  recv: declare("recv", "long", ["int", "void *", "size_t", "int"]),
  poll: declare("poll", "int", ["void *", "unsigned long", "int"]),
};

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0x800;
export const SOCK_CLOEXEC = 0x80000;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_RCVBUFFORCE = 33;
export const SO_SNDBUFFORCE = 32;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;

/** A socket, closed on exec. @throws SystemCallError, e.g. EPROTONOSUPPORT for MPTCP on a kernel without it. */
export function openSocket(family: number, type: number, protocol: number): number {
  return check("socket", c.socket(family, type | SOCK_CLOEXEC, protocol), `family ${family}, protocol ${protocol}`);
}

export function closeSocket(fd: number): void {
  c.close(fd);
}

export function bindSocket(fd: number, to: SocketAddress | Uint8Array): void {
  const name = to instanceof Uint8Array ? to : encodeSockaddr(to);
  check("bind", c.bind(fd, name, name.length), to instanceof Uint8Array ? undefined : `${to.address} port ${to.port}`);
}

/** Whether it is connected already; a non-blocking one is usually under way. */
export function connectSocket(fd: number, to: SocketAddress | Uint8Array): boolean {
  const name = to instanceof Uint8Array ? to : encodeSockaddr(to);
  try {
    const result = c.connect(fd, name, name.length);
    check("connect", result, to instanceof Uint8Array ? undefined : `${to.address} port ${to.port}`);
    return true;
  } catch (error) {
    if (hasErrno(error, "EINPROGRESS")) return false;
    throw error;
  }
}

export function listenSocket(fd: number, backlog: number): void {
  check("listen", c.listen(fd, backlog));
}

export function setOption(fd: number, level: number, option: number, value: number | Uint8Array): void {
  const bytes = typeof value === "number" ? new Uint8Array(Uint32Array.of(value).buffer) : value;
  check("setsockopt", c.setsockopt(fd, level, option, bytes, bytes.length), `level ${level}, option ${option}`);
}

/** Fills `buffer` (some options read it first) and returns the part the kernel wrote. */
export function getOption(fd: number, level: number, option: number, buffer: Uint8Array): Uint8Array {
  const length = Uint32Array.of(buffer.length);
  const lengthBytes = new Uint8Array(length.buffer);
  check("getsockopt", c.getsockopt(fd, level, option, buffer, lengthBytes), `level ${level}, option ${option}`);
  return buffer.subarray(0, Math.min(length[0], buffer.length));
}

/** The pending error of a socket (0: none), cleared by reading it. */
export function socketError(fd: number): number {
  const bytes = getOption(fd, SOL_SOCKET, SO_ERROR, new Uint8Array(4));
  return new DataView(bytes.buffer).getInt32(0, true);
}

export function localAddress(fd: number): SocketAddress {
  return addressBy("getsockname", fd);
}

export function peerAddress(fd: number): SocketAddress {
  return addressBy("getpeername", fd);
}

function addressBy(call: "getsockname" | "getpeername", fd: number): SocketAddress {
  const name = new Uint8Array(128);
  check(call, c[call](fd, name, new Uint8Array(Uint32Array.of(name.length).buffer)));
  return decodeSockaddr(name);
}

/** The first `length` bytes, all unless told. @returns how many of them the kernel took: all, of a datagram */
export function sendBytes(fd: number, bytes: Uint8Array, length = bytes.length): number {
  return check("send", c.send(fd, bytes, length, 0));
}

/** Sends a datagram without waiting. False: the kernel had no room for it. */
export function trySendTo(fd: number, bytes: Uint8Array, name: Uint8Array): boolean {
  try {
    check("sendto", c.sendto(fd, bytes, bytes.length, MSG_DONTWAIT, name, name.length));
    return true;
  } catch (error) {
    if (hasErrno(error, "EAGAIN", "ENOBUFS")) return false;
    throw error;
  }
}

/**
 * Receives one message into `buffer`, waiting up to `timeoutMs` (0: not at all).
 * @returns its length, or undefined when none came.
 */
export function receive(fd: number, buffer: Uint8Array, timeoutMs: number): number | undefined {
  const deadline = timeoutMs > 0 ? performance.now() + timeoutMs : 0;
  for (;;) {
    const length = Number(c.recv(fd, buffer, buffer.length, MSG_DONTWAIT));
    if (length >= 0) return length;
    // Nothing there is what usually ends a series of calls: no error object is made for it.
    const reason = errno();
    if (reason !== errnos["EAGAIN"] && reason !== errnos["EINTR"]) throw new SystemCallError("recv", reason);
    const left = timeoutMs > 0 ? deadline - performance.now() : 0;
    if (left <= 0) return undefined;
    waitReadable(fd, left);
  }
}

/** Waits until there is something to read or accept, for `timeoutMs` at most; the thread does nothing else meanwhile. */
export function waitReadable(fd: number, timeoutMs: number): boolean {
  const pollfd = new Uint8Array(8);
  const data = new DataView(pollfd.buffer);
  data.setInt32(0, fd, true);
  data.setInt16(4, POLLIN, true);
  return Number(c.poll(pollfd, 1, Math.ceil(timeoutMs))) > 0;
}

/** The next connection that waits at a non-blocking listener, or undefined. It blocks, unlike the listener. */
export function acceptSocket(listener: number): number | undefined {
  try {
    return check("accept4", c.accept4(listener, null, null, SOCK_CLOEXEC));
  } catch (error) {
    if (hasErrno(error, "EAGAIN", "EINTR", "ECONNABORTED")) return undefined;
    throw error;
  }
}

/** By number: some errnos have two names. */
export function hasErrno(error: unknown, ...names: string[]): boolean {
  return error instanceof SystemCallError && names.some((name) => errnos[name] === error.errno);
}
