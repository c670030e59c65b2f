/**
 * The server of short connections, in a process of its own: answers four bytes with as many as they say, and closes each
 * connection after its client. System calls without Node's streams: at thousands of connections a second those would take a
 * processor, of which machines under test have few. It prints its port, and ends with the process that started it.
 */
import { AF_INET } from "../../linux/sockaddr.ts";
import * as sock from "../../linux/socket-calls.ts";

const IPPROTO_MPTCP = 262;
const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;
/** How often it looks after its parent, and whether old clients have gone while no new one comes. */
const idleMs = 20;
const answerMs = 2000;

const parent = process.ppid;
const listener = sock.openSocket(AF_INET, sock.SOCK_STREAM | sock.SOCK_NONBLOCK, IPPROTO_MPTCP);
sock.setOption(listener, IPPROTO_TCP, TCP_CONGESTION, new TextEncoder().encode("cubic"));
sock.bindSocket(listener, { address: "0.0.0.0", port: 0 });
sock.listenSocket(listener, 4096);
process.stdout.write(`${sock.localAddress(listener).port}\n`, () => serve());

const block = new Uint8Array(1 << 20);
const buffer = new Uint8Array(64);
/** In the order of their beginnings, which is that of their ends. */
const open: number[] = [];
let oldest = 0;

function serve(): void {
  while (process.ppid === parent) {
    if (sock.waitReadable(listener, idleMs))
      for (let fd = sock.acceptSocket(listener); fd !== undefined; fd = sock.acceptSocket(listener)) answer(fd);
    while (oldest < open.length && isOver(open[oldest])) sock.closeSocket(open[oldest++]);
    if (oldest > 4096) {
      open.splice(0, oldest);
      oldest = 0;
    }
  }
  process.exit(0);
}

function answer(fd: number): void {
  open.push(fd);
  try {
    if (!sock.waitReadable(fd, answerMs) || sock.receive(fd, buffer, 0) !== 4) return;
    let left = new DataView(buffer.buffer).getUint32(0);
    while (left > 0) left -= sock.sendBytes(fd, block.subarray(0, Math.min(left, block.length)));
  } catch (error) {
    if (!sock.hasErrno(error, "ECONNRESET", "EPIPE")) throw error;
  }
}

function isOver(fd: number): boolean {
  try {
    return sock.receive(fd, buffer, 0) === 0;
  } catch {
    // A connection that broke is over, too.
    return true;
  }
}
