/** The operations of in-stack congestion control: what the kernel hands to them, and what does them by default. */
import type { Base } from "../../policy/stack.ts";

/** What an operation is given, in order: the socket, integers, or a structure to hand on. */
export type OperationArgument = "socket" | "connection" | "u8" | "u32" | "ackSample" | "rateSample";
/** What a function of the kernel takes besides: a u32 that must not be 0. */
export type FunctionArgument = OperationArgument | "divisor";

export interface Operation {
  /** Of the structure. */
  readonly member: string;
  readonly arguments: readonly OperationArgument[];
  /** `choice`: 0 when a subflow was chosen, or an error. */
  readonly returns?: "u32" | "choice";
}

/** Of `struct tcp_congestion_ops` (include/net/tcp.h). */
export const operations = {
  init: { member: "init", arguments: ["socket"] },
  release: { member: "release", arguments: ["socket"] },
  ssthresh: { member: "ssthresh", arguments: ["socket"], returns: "u32" },
  congAvoid: { member: "cong_avoid", arguments: ["socket", "u32", "u32"] },
  congControl: { member: "cong_control", arguments: ["socket", "u32", "u32", "rateSample"] },
  setState: { member: "set_state", arguments: ["socket", "u8"] },
  cwndEvent: { member: "cwnd_event", arguments: ["socket", "u32"] },
  inAckEvent: { member: "in_ack_event", arguments: ["socket", "u32"] },
  pktsAcked: { member: "pkts_acked", arguments: ["socket", "ackSample"] },
  undoCwnd: { member: "undo_cwnd", arguments: ["socket"], returns: "u32" },
  minTsoSegs: { member: "min_tso_segs", arguments: ["socket"], returns: "u32" },
  sndbufExpand: { member: "sndbuf_expand", arguments: ["socket"], returns: "u32" },
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof operations;

/** Of `struct mptcp_sched_ops` (include/net/mptcp.h). */
export const schedulerOperations: Readonly<Record<string, Operation>> = {
  init: { member: "init", arguments: ["connection"] },
  release: { member: "release", arguments: ["connection"] },
  getSend: { member: "get_send", arguments: ["connection"], returns: "choice" },
  getRetrans: { member: "get_retrans", arguments: ["connection"], returns: "choice" },
};

/** Those that only a base has. */
const notForPolicies: ReadonlySet<string> = new Set<OperationName>(["minTsoSegs", "sndbufExpand"]);

export const policyOperations: readonly string[] = Object.keys(operations).filter((name) => !notForPolicies.has(name));

/** The kernel's functions for them (net/ipv4/tcp_cubic.c, tcp_cong.c, tcp_bbr.c), which struct_ops programs may call. */
export const baseFunctions: Readonly<Record<Base, { readonly [K in OperationName]?: string }>> = {
  cubic: {
    init: "cubictcp_init",
    ssthresh: "cubictcp_recalc_ssthresh",
    congAvoid: "cubictcp_cong_avoid",
    setState: "cubictcp_state",
    cwndEvent: "cubictcp_cwnd_event",
    pktsAcked: "cubictcp_acked",
    undoCwnd: "tcp_reno_undo_cwnd",
  },
  reno: { ssthresh: "tcp_reno_ssthresh", congAvoid: "tcp_reno_cong_avoid", undoCwnd: "tcp_reno_undo_cwnd" },
  bbr: {
    init: "bbr_init",
    ssthresh: "bbr_ssthresh",
    congControl: "bbr_main",
    setState: "bbr_set_state",
    cwndEvent: "bbr_cwnd_event",
    undoCwnd: "bbr_undo_cwnd",
    minTsoSegs: "bbr_min_tso_segs",
    sndbufExpand: "bbr_sndbuf_expand",
  },
};

/** The kernel has either in use, never both. */
export const windowOperation = (base: Base): OperationName =>
  baseFunctions[base].congControl === undefined ? "congAvoid" : "congControl";

interface RenoFunction {
  readonly function: string;
  readonly arguments: readonly FunctionArgument[];
  readonly returns?: "u32";
}

/** `reno.X(…)`. */
export const renoFunctions: Readonly<Record<string, RenoFunction>> = {
  ssthresh: { function: "tcp_reno_ssthresh", arguments: ["socket"], returns: "u32" },
  undoCwnd: { function: "tcp_reno_undo_cwnd", arguments: ["socket"], returns: "u32" },
  congAvoid: { function: "tcp_reno_cong_avoid", arguments: ["socket", "u32", "u32"] },
  slowStart: { function: "tcp_slow_start", arguments: ["socket", "u32"], returns: "u32" },
  congAvoidAi: { function: "tcp_cong_avoid_ai", arguments: ["socket", "divisor", "u32"] },
};
