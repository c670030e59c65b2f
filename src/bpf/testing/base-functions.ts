/**
 * Stand-ins for the functions of cubic and bbr, which keep no memory: windows do as Reno's, the rest nothing. With them one
 * sees that a base was called, and with what; not how well it does.
 */
import { kernelFunctions, type KernelFunction } from "../vm/kernel-functions.ts";

const nothing: KernelFunction = (_objects, _socket) => {};
const nothingOf: KernelFunction = (_objects, _socket, _argument) => {};
const { tcp_reno_ssthresh, tcp_reno_cong_avoid, tcp_reno_undo_cwnd } = kernelFunctions;

export const baseFunctions: Readonly<Record<string, KernelFunction>> = {
  cubictcp_init: nothing,
  cubictcp_recalc_ssthresh: tcp_reno_ssthresh,
  cubictcp_cong_avoid: tcp_reno_cong_avoid,
  cubictcp_state: nothingOf,
  cubictcp_cwnd_event: nothingOf,
  cubictcp_acked: nothingOf,
  bbr_init: nothing,
  bbr_ssthresh: tcp_reno_ssthresh,
  bbr_main: (_objects, _socket, _ack, _flag, _sample) => {},
  bbr_set_state: nothingOf,
  bbr_cwnd_event: nothingOf,
  bbr_undo_cwnd: tcp_reno_undo_cwnd,
  bbr_min_tso_segs: (_objects, _socket) => 2,
  bbr_sndbuf_expand: (_objects, _socket) => 3,
};
