/** What actors on sockets see: a subflow's socket, and what happens to it. */
import type { Flow } from "./packet.ts";
import type { u32, u8 } from "./types.ts";

/**
 * - `connect`: this host begins to connect; nothing was sent yet
 * - `established`: from either side; also once for each connection that runs when a chain is submitted or changed
 * - `rtt`: a sample of the round-trip time
 * - `rto`: the retransmission timer ran out
 * - `closed`: the socket is done
 */
export const socketEvents = ["connect", "established", "rtt", "rto", "closed"] as const;
export type SocketEvent = (typeof socketEvents)[number];

/**
 * A TCP socket of this host: one subflow's sending side. What the kernel refuses to set is counted as `refused`, as
 * `cannot("refused")` would, and the turn goes on.
 */
export interface Socket {
  readonly flow: Flow;
  /** Why the actor runs. */
  readonly event: SocketEvent;
  /** Smoothed round-trip time; 0 before the first sample. */
  readonly srttUs: u32;
  /** Congestion window, in packets. */
  readonly cwnd: u32;
  /** How often in a row the retransmission timer ran out, this time included; 0 at events other than `rto`. */
  readonly rtoCount: u32;
  /** Caps what the socket sends, in bytes per second. The kernel's pacing does the rest. */
  maxPacingRate: u32;
  /** By the kernel's name for it: a `congestionControlName` parameter, or a literal. Write-only. */
  congestionControl: string;
  /** The congestion window is no larger, in packets, from 1; a larger one comes down when it would grow. Write-only. */
  cwndMax: u32;
  /**
   * Retransmission timers run for as long at least, beyond the round-trip time; at most the 200 ms that are usual. Those of
   * running connections come down to it, and do not rise again with it. Write-only.
   */
  rtoMinUs: u32;
  /** ACKs wait for data to go with no longer; at most the 200 ms that are usual. Write-only. */
  delayedAckMaxUs: u32;
  /** How long data may stay unacknowledged until the kernel gives the subflow up (TCP_USER_TIMEOUT); 0 for its own rule. Write-only. */
  userTimeoutMs: u32;
  /** SO_MARK, of the packets from now on. Write-only. */
  mark: u32;
  /** The upper six bits of IPv4's TOS and of IPv6's traffic class. An IPv6 socket that speaks IPv4 refuses it. Write-only. */
  tos: u8;
}
