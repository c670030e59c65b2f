/**
 * The client of short connections, in a process of its own, one after the other or at a rate: each asks for an answer, reads
 * it, stays open for a while, and is closed. Arguments: `ShortClientOptions` as JSON; the last line it prints is a
 * `ShortClientResult`. Calls block; nothing else runs here.
 */
import { AF_INET, encodeSockaddr } from "../../linux/sockaddr.ts";
import * as sock from "../../linux/socket-calls.ts";

export interface ShortClientOptions {
  readonly address: string;
  readonly port: number;
  readonly count: number;
  readonly responseBytes: number;
  /** From the answer's end to the close. */
  readonly holdMs: number;
  /** Beyond that, for a connection that has no second subflow yet. */
  readonly patienceMs: number;
  /** How many begin in a second; without it each begins a while after the one before was closed. */
  readonly perSecond?: number;
}

export interface ShortClientResult {
  /** Opened, and answered in full. */
  readonly answered: number;
  readonly elapsedMs: number;
  /** Why the others were not, the first time. */
  readonly failure?: string;
}

const IPPROTO_MPTCP = 262;
const SOL_MPTCP = 284;
const MPTCP_TCPINFO = 2;
const answerMs = 10_000;
const againMs = 5;
/** What the end of a connection sets off is not to be in the way of the next one. */
const pauseMs = 2;

const options = JSON.parse(process.argv[2]) as ShortClientOptions;
const server = encodeSockaddr(options);
const request = new Uint8Array(4);
new DataView(request.buffer).setUint32(0, options.responseBytes);
const buffer = new Uint8Array(1 << 20);
const parent = process.ppid;
const clock = new Int32Array(new SharedArrayBuffer(4));

const sleepUntil = (ms: number) => {
  const left = ms - performance.now();
  if (left > 0) Atomics.wait(clock, 0, 0, left);
};

let answered = 0;
let failure: string | undefined;

function open(): number {
  const fd = sock.openSocket(AF_INET, sock.SOCK_STREAM, IPPROTO_MPTCP);
  try {
    sock.connectSocket(fd, server);
    sock.sendBytes(fd, request);
    let left = options.responseBytes;
    while (left > 0) {
      const length = sock.waitReadable(fd, answerMs) ? sock.receive(fd, buffer, 0) : undefined;
      if (!length) throw new Error(length === 0 ? "the answer was cut off" : `no answer for ${answerMs} ms`);
      left -= length;
    }
    answered++;
  } catch (error) {
    failure ??= (error as Error).message;
  }
  return fd;
}

/** `struct mptcp_subflow_data` alone: its size, how many subflows there are, and what would be told of each of them. */
const subflows = Uint32Array.of(16, 0, 0, 256);
const subflowBytes = new Uint8Array(subflows.buffer);

/**
 * Whether its SYN was sent. The kernel waits here for whoever is just opening a subflow; `mptcpi_subflows` counts those, too, that
 * are not begun yet.
 */
function hasSecondSubflow(fd: number): boolean {
  subflows[1] = subflows[2] = 0;
  try {
    sock.getOption(fd, SOL_MPTCP, MPTCP_TCPINFO, subflowBytes);
    return subflows[1] > 1;
  } catch {
    // A connection that has failed gets none.
    return true;
  }
}

const closing: { readonly fd: number; atMs: number; readonly latestMs: number }[] = [];
let oldest = 0;

function closeUntil(ms: number): void {
  while (oldest < closing.length && closing[oldest].atMs <= ms) {
    const next = closing[oldest];
    sleepUntil(next.atMs);
    if (performance.now() < next.latestMs && !hasSecondSubflow(next.fd)) next.atMs = performance.now() + againMs;
    else sock.closeSocket(closing[oldest++].fd);
  }
}

const startedAt = performance.now();
for (let i = 0; i < options.count && process.ppid === parent; i++) {
  if (options.perSecond === undefined) {
    closeUntil(Infinity);
    sleepUntil(performance.now() + pauseMs);
  } else {
    const dueMs = startedAt + (1000 * i) / options.perSecond;
    closeUntil(Math.max(dueMs, performance.now()));
    sleepUntil(dueMs);
  }
  const fd = open();
  const atMs = performance.now() + options.holdMs;
  closing.push({ fd, atMs, latestMs: atMs + options.patienceMs });
}
const elapsedMs = performance.now() - startedAt;
closeUntil(Infinity);
const result: ShortClientResult = { answered, elapsedMs, ...(failure !== undefined && { failure }) };
console.log(JSON.stringify(result));
