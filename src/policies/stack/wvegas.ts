/** wVegas: weighted Vegas, draft-xu-mptcp-congestion-control (Xu, Cao and Dong): coupled by delay instead of loss. */
import { max, min, reno, u32, u64, type StackSocket, type StateRecord } from "../../policy/index.ts";
import { mostWindow, type Survey } from "./paths.ts";

/** Packets that a connection may keep in queues, in all, and the least that a subflow may. */
const inQueues = 10;
const inQueue = 2;
/** Packets in the queue by which slow start ends. */
const gamma = 1;

export const wvegasFields = {
  /** The round under way ends with the ACK of this. */
  roundEnd: u32,
  /** The subflow's part of what may be in queues; 0 before the first round. */
  alpha: u32,
  /** The shortest time in the queue since the window was last cut for it; 0 when there is none. */
  queueUs: u32,
};
type Memory = StateRecord<typeof wvegasFields>;

/** The window that has `gone` less packets in the queue, of a round trip that would have `baseUs` without. */
function inPipe(window: u32, baseUs: u32, rttUs: u32): u32 {
  return u32((u64(window) * baseUs) / rttUs);
}

/** What a subflow may keep in the queue: its part of the rate. */
export function wvegasAlpha({ sumRate, rate }: Survey): u32 {
  return max(u32((rate * inQueues + sumRate / 2) / sumRate), inQueue);
}

/** Once per round. */
function adapt(socket: StackSocket, memory: Memory, paths: Survey, rttUs: u32, baseUs: u32, acked: u32): void {
  const window = min(socket.cwnd, mostWindow);
  const pipe = inPipe(window, baseUs, rttUs);
  const queued = window - pipe;
  if (socket.cwnd < socket.ssthresh) {
    if (queued <= gamma) {
      reno.slowStart(socket, acked);
      return;
    }
    socket.cwnd = max(min(window, pipe + 1), inQueue);
    socket.ssthresh = max(min(socket.ssthresh, socket.cwnd - 1), inQueue);
    return;
  }
  if (memory.alpha === 0 || queued >= memory.alpha) memory.alpha = wvegasAlpha(paths);
  let next = window;
  if (queued > memory.alpha) next = window - 1;
  else if (queued < memory.alpha && socket.isCwndLimited) next = window + 1;
  const queueUs = rttUs - baseUs;
  if (memory.queueUs === 0 || memory.queueUs > queueUs) memory.queueUs = queueUs;
  // So that the queue runs empty, and all who share it learn the round trip without. The draft does so also within what a
  // subflow may keep, and then seldom fills a path whose round trip varies by itself.
  if (queueUs >= memory.queueUs * 2 && queued > memory.alpha * 2) {
    next = inPipe(window, baseUs, rttUs) / 2;
    memory.queueUs = 0;
  }
  socket.cwnd = max(next, inQueue);
  socket.ssthresh = max(min(socket.ssthresh, socket.cwnd - 1), inQueue);
}

/** Moves the window once a round: towards as many packets in the queue as the subflow may keep there. */
export function wvegasAvoid(socket: StackSocket, memory: Memory, paths: Survey, ack: u32, acked: u32): void {
  if (u32(ack - memory.roundEnd - 1) >= 0x8000_0000) {
    if (socket.cwnd < socket.ssthresh) reno.slowStart(socket, acked);
    return;
  }
  memory.roundEnd = socket.sndNxt;
  const rttUs = socket.srttUs;
  if (rttUs === 0) reno.congAvoid(socket, ack, acked);
  else adapt(socket, memory, paths, rttUs, min(socket.minRttUs, rttUs), acked);
}
