/** Proactive congestion control: a subflow sends what it was granted. */
import { congestionState, max, min, u32, u64, type StackSocket } from "../../policy/index.ts";
import type { Memory, State } from "./memory.ts";

/** The packets that may be under way without a credit, so that ACKs, on which credits travel, never cease. */
export const probeWindow = 2;
/** No more packets than this are let go at once, whatever was granted. */
const mostLeft = 65_536;
/** For how long, and four round trips, credits last while ACKs bring no others. */
const patienceUs = 1_000_000;

/**
 * Opens the window by as many whole packets as the credits allow from here on. The kernel paces to 1.2 windows in a round trip
 * where the window is no less than the threshold.
 */
export function spend(socket: StackSocket, { strategies }: State): void {
  const account = strategies.get(socket.flow);
  if (account === undefined) return;
  const left = u32(u32(account.creditBytes) - socket.sndNxt);
  const isGranted = account.creditBytes !== 0 && left < 0x8000_0000;
  const packets = isGranted ? min(left / socket.mss, mostLeft) : 0;
  const window = max(min(socket.inFlight, mostLeft) + packets, probeWindow);
  socket.cwnd = window;
  socket.ssthresh = window;
}

/** TCP_INFINITE_SSTHRESH (include/net/tcp.h). */
const noThreshold = 0x7fff_ffff;

/** Credits say nothing of what the path can carry: the base finds that out as for a connection that begins. */
export function endCredit(socket: StackSocket): void {
  if (!isRecovering(socket)) socket.ssthresh = noThreshold;
}

/** Whether there has been no further grant for so long that whoever granted must be gone. */
export function isExpired(socket: StackSocket, mine: Memory, creditBytes: u64): boolean {
  if (creditBytes !== mine.granted) {
    mine.granted = creditBytes;
    mine.grantedUs = socket.lastEventUs;
  }
  return socket.lastEventUs - mine.grantedUs > patienceUs + u64(socket.srttUs) * 4;
}

/** Whether losses are being made up for, with the window that the kernel finds right. */
export function isRecovering(socket: StackSocket): boolean {
  return socket.caState >= congestionState.cwr;
}
