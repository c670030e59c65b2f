/**
 * In-stack policies: congestion control and scheduling that the kernel's own MPTCP runs, through struct_ops. Operations are
 * the kernel's (`struct tcp_congestion_ops`, include/net/tcp.h; `struct mptcp_sched_ops`, include/net/mptcp.h), in camel case.
 */
import { definePolicy } from "./define.ts";
import type { Flow } from "./packet.ts";
import type { Actor, Policy, State } from "./policy.ts";
import type { StateViews } from "./state.ts";
import type { ParameterType, u32, u64, u8 } from "./types.ts";

/** Facts of one subflow. Times are µs, windows packets of `mss` bytes, rates bytes per second; counters never go back. */
export interface SubflowFacts {
  /** The number of the subflow in its connection, from 1; 0 on plain TCP. */
  readonly id: u32;
  /** As the key of `flows(…)` state. */
  readonly flow: Flow;
  /** Whether this host or the peer wants it used only when there is no other. */
  readonly backup: boolean;
  readonly cwnd: u32;
  readonly ssthresh: u32;
  readonly mss: u32;
  /** 0 before the first sample. */
  readonly srttUs: u32;
  readonly rttVarUs: u32;
  /** 2^32 - 1 before the first sample. */
  readonly minRttUs: u32;
  /** Packets sent that are neither acknowledged nor thought lost. */
  readonly inFlight: u32;
  readonly packetsOut: u32;
  /** Packets thought lost, in all. */
  readonly lost: u32;
  readonly retransmissions: u32;
  /** Packets that arrived, in all. */
  readonly delivered: u32;
  readonly bytesSent: u64;
  readonly bytesAcked: u64;
  readonly bytesRetransmitted: u64;
  readonly sndUna: u32;
  readonly sndNxt: u32;
  /** Bytes of memory that wait to be sent or acknowledged. */
  readonly queuedBytes: u32;
  readonly notSentBytes: u32;
  readonly pacingRate: u64;
  /** 2^64 - 1 without a limit. */
  readonly maxPacingRate: u64;
  /** Who paces, `enum sk_pacing` (include/net/sock.h): 0 nobody, 1 the socket itself, 2 the queueing discipline fq. */
  readonly pacingStatus: u32;
  /** The kernel's last sample; 0 when there is none. */
  readonly deliveryRate: u64;
  /** See `congestionState`. */
  readonly caState: u8;
  readonly isCwndLimited: boolean;
  readonly isAppLimited: boolean;
  /** When the socket's last segment came or left, on the clock of `now()`. */
  readonly lastEventUs: u64;
  /**
   * An integer of a kernel structure that `path` names from the socket on: `"tcp_sock.reordering"`. Both are constants. A
   * kernel without such a field, or with one of another size, refuses the policy.
   */
  field(path: string, type: ParameterType<number, number | bigint>): number;
}

/** The socket of one subflow as its congestion control sees it. */
export interface StackSocket extends SubflowFacts {
  /** A window of 0 is taken as 1: a socket without one would never send again. */
  cwnd: u32;
  ssthresh: u32;
  /** What `reno.congAvoidAi` counts until the window grows by one. */
  cwndCount: u32;
  /** The kernel sets it anew after every ACK, unless congestion control has a `congControl`. */
  pacingRate: u64;
  /** A cap on pacing makes the socket pace itself, also after it is lifted: unless this is written. */
  pacingStatus: u32;
  /** Caps pacing, from now on. Writing it costs a call of setsockopt: write what has changed. */
  maxPacingRate: u64;
  /**
   * Has the kernel ask the peer for an ACK after so many seconds without anything, 1 to 32767, and again as often: an idle
   * subflow has no other occasion to run an operation (`inAckEvent`). A peer that leaves 127 unanswered counts as gone. 0
   * turns it off. Write-only.
   */
  keepAliveSeconds: u32;
  /** undefined on plain TCP. */
  readonly connection: Connection | undefined;
}

/** An MPTCP connection, from one of its subflows. */
export interface Connection {
  /** This host's. */
  readonly token: u32;
  /** Data sequence numbers. */
  readonly sndNxt: u64;
  readonly sndUna: u64;
  readonly bytesSent: u64;
  readonly bytesAcked: u64;
  readonly bytesRetransmitted: u64;
  /** All that are established, the one in question among them; the first `maximumSubflows` of them. */
  readonly subflows: Iterable<SubflowFacts>;
  /** As `SubflowFacts.field`, from the connection on: `"mptcp_sock.timer_ival"`. */
  field(path: string, type: ParameterType<number, number | bigint>): number;
}

/** The most subflows that a walk over a connection's meets: the kernel's path manager makes no more. */
export const maximumSubflows = 8;

/** `enum tcp_ca_state` (include/uapi/linux/tcp.h). */
export const congestionState = { open: 0, disorder: 1, cwr: 2, recovery: 3, loss: 4 } as const;

/** `enum tcp_ca_event` (include/net/tcp.h). */
export const congestionEvent = {
  transmitStart: 0,
  windowRestart: 1,
  completeReduction: 2,
  loss: 3,
  ecnNoCe: 4,
  ecnIsCe: 5,
} as const;

/** `struct ack_sample`. */
export interface AckSample {
  readonly packetsAcked: u32;
  /** -1 when the ACK gives none. */
  readonly rttUs: number;
  readonly inFlight: u32;
}

/** Operations of congestion control; `S` is the policy's state. */
export interface CongestionOperations<S> {
  init?(socket: StackSocket, state: S): void;
  release?(socket: StackSocket, state: S): void;
  /** The slow start threshold after a loss. */
  ssthresh?(socket: StackSocket, state: S): u32;
  /** Lets the window grow: `acked` packets are new. With bases that have no `congControl`. */
  congAvoid?(socket: StackSocket, ack: u32, acked: u32, state: S): void;
  /** All that happens after an ACK, in place of `congAvoid`, window reduction and pacing. With bases that have one. */
  congControl?(socket: StackSocket, ack: u32, flag: u32, sample: RateSample, state: S): void;
  /** Before the state changes to `next`, see `congestionState`. */
  setState?(socket: StackSocket, next: u8, state: S): void;
  /** See `congestionEvent`. */
  cwndEvent?(socket: StackSocket, event: u32, state: S): void;
  /** For every ACK, those that acknowledge nothing too. */
  inAckEvent?(socket: StackSocket, flags: u32, state: S): void;
  pktsAcked?(socket: StackSocket, sample: AckSample, state: S): void;
  /** The window to go back to when a loss was none. */
  undoCwnd?(socket: StackSocket, state: S): u32;
}

/** `struct rate_sample`, to be handed on. */
export interface RateSample {
  readonly __rateSample: never;
}

/** The kernel's algorithms that others can build on. */
export const bases = ["cubic", "reno", "bbr"] as const;
export type Base = (typeof bases)[number];

export interface CongestionControl extends Actor {
  readonly on: "stack";
  /** The operations it defines; the base does the others. */
  readonly operations: readonly string[];
}

/**
 * Defines congestion control on top of a base, which is chosen when it is registered: an operation that is not defined is
 * the base's, one that is may call it (`base.congAvoid(socket, ack, acked)`).
 */
export function congestionControl<const S extends State = {}>(
  options: { name: string; state?: S } & CongestionOperations<StateViews<S>>,
): CongestionControl {
  const { name: _name, state: _state, ...operations } = options;
  return { ...inStack(options), operations: Object.keys(operations) };
}

/** Operations of packet scheduling, of `struct mptcp_sched_ops`; `S` is the policy's state. */
export interface SchedulerOperations<S> {
  init?(connection: Connection, state: S): void;
  release?(connection: Connection, state: S): void;
  /** Says by `schedule` which subflows send what comes next; when it names none, nothing is sent until the kernel asks again. */
  getSend(connection: Connection, state: S): void;
  /** The same of what is sent again; without it, `getSend` is asked. */
  getRetrans?(connection: Connection, state: S): void;
}

export interface Scheduler extends Actor {
  readonly on: "stack";
  readonly operations: readonly string[];
  readonly schedules: true;
}

/** Defines a packet scheduler, for kernels that take one from programs: whose BTF has `bpf_struct_ops_mptcp_sched_ops`. */
export function scheduler<const S extends State = {}>(
  options: { name: string; state?: S } & SchedulerOperations<StateViews<S>>,
): Scheduler {
  const { name: _name, state: _state, ...operations } = options;
  return { ...inStack(options), operations: Object.keys(operations), schedules: true };
}

/** Lets a subflow send what comes next. Several that are named send the same. In schedulers. */
export function schedule(_subflow: SubflowFacts): void {
  compiledOnly("schedule");
}

function inStack(options: { name: string; state?: State }): Policy & { readonly kind: "actor"; readonly on: "stack" } {
  return definePolicy("actor", { ...options, on: "stack", direction: "egress" }) as Policy & {
    readonly kind: "actor";
    readonly on: "stack";
  };
}

function compiledOnly(name: string): never {
  throw new Error(`Cannot call ${name}() here: it is part of the policy language and only compiled`);
}

/** The operations of the base algorithm. What it does not have does nothing. */
export const base = {
  init(_socket: StackSocket): void {
    compiledOnly("base.init");
  },
  release(_socket: StackSocket): void {
    compiledOnly("base.release");
  },
  ssthresh(_socket: StackSocket): u32 {
    return compiledOnly("base.ssthresh");
  },
  congAvoid(_socket: StackSocket, _ack: u32, _acked: u32): void {
    compiledOnly("base.congAvoid");
  },
  congControl(_socket: StackSocket, _ack: u32, _flag: u32, _sample: RateSample): void {
    compiledOnly("base.congControl");
  },
  setState(_socket: StackSocket, _next: u8): void {
    compiledOnly("base.setState");
  },
  cwndEvent(_socket: StackSocket, _event: u32): void {
    compiledOnly("base.cwndEvent");
  },
  pktsAcked(_socket: StackSocket, _sample: AckSample): void {
    compiledOnly("base.pktsAcked");
  },
  undoCwnd(_socket: StackSocket): u32 {
    return compiledOnly("base.undoCwnd");
  },
} as const;

/** Reno's parts, whatever the base is. */
export const reno = {
  /** Half of the window, at least 2. */
  ssthresh(_socket: StackSocket): u32 {
    return compiledOnly("reno.ssthresh");
  },
  undoCwnd(_socket: StackSocket): u32 {
    return compiledOnly("reno.undoCwnd");
  },
  congAvoid(_socket: StackSocket, _ack: u32, _acked: u32): void {
    compiledOnly("reno.congAvoid");
  },
  /** Grows the window by `acked` up to the threshold: what of `acked` is left beyond it. */
  slowStart(_socket: StackSocket, _acked: u32): u32 {
    return compiledOnly("reno.slowStart");
  },
  /** Grows the window by one for every `window` of `acked` packets; a `window` of 0 is taken as 1. */
  congAvoidAi(_socket: StackSocket, _window: u32, _acked: u32): void {
    compiledOnly("reno.congAvoidAi");
  },
} as const;
