/** Functions of the kernel that programs call by name: those that are the same everywhere, and what a caller of a VM adds. */
import type { KernelObjects } from "./kernel-objects.ts";

/**
 * What a function does. It is given as many arguments as it declares, and all 64 bits of each. Nothing returned leaves r0
 * without a meaning, as a `void` function does.
 */
export type KernelFunction = (objects: KernelObjects, ...args: bigint[]) => number | bigint | void;

/** A call of a function, with the arguments that it declares. */
export interface KernelCall {
  readonly name: string;
  readonly args: readonly bigint[];
}

const u32 = (value: number | bigint): number => Number(BigInt.asUintN(32, BigInt(value)));

/** Fields of a `tcp_sock` as properties. */
function tcpSocket(objects: KernelObjects, address: bigint) {
  const read = (field: string): number => u32(objects.read(address, `tcp_sock.${field}`));
  const write = (field: string, value: number): void => objects.write(address, `tcp_sock.${field}`, u32(value));
  return {
    get cwnd() {
      return read("snd_cwnd");
    },
    set cwnd(value: number) {
      write("snd_cwnd", value);
    },
    get count() {
      return read("snd_cwnd_cnt");
    },
    set count(value: number) {
      write("snd_cwnd_cnt", value);
    },
    read,
  };
}

type TcpSocket = ReturnType<typeof tcpSocket>;

const inSlowStart = (socket: TcpSocket): boolean => socket.cwnd < socket.read("snd_ssthresh");

/** Whether it is the window that limits sending; in slow start it may grow to twice what is in flight. */
function isWindowLimited(socket: TcpSocket): boolean {
  if (socket.read("is_cwnd_limited") !== 0) return true;
  return inSlowStart(socket) && socket.cwnd < 2 * socket.read("max_packets_out");
}

function slowStart(socket: TcpSocket, acked: number): number {
  const cwnd = Math.min(u32(socket.cwnd + acked), socket.read("snd_ssthresh"));
  const left = u32(acked - (cwnd - socket.cwnd));
  socket.cwnd = Math.min(cwnd, socket.read("snd_cwnd_clamp"));
  return left;
}

function avoidCongestion(objects: KernelObjects, socket: TcpSocket, window: number, acked: number): void {
  if (socket.count >= window) {
    socket.count = 0;
    socket.cwnd++;
  }
  socket.count += acked;
  if (socket.count >= window) {
    if (window === 0) throw objects.error("call", "tcp_cong_avoid_ai divides by a window of 0: the kernel would stop");
    const whole = Math.floor(socket.count / window);
    socket.count -= whole * window;
    socket.cwnd += whole;
  }
  socket.cwnd = Math.min(socket.cwnd, socket.read("snd_cwnd_clamp"));
}

export type KernelFunctionName =
  "tcp_reno_ssthresh" | "tcp_reno_undo_cwnd" | "tcp_reno_cong_avoid" | "tcp_slow_start" | "tcp_cong_avoid_ai";

/** Reno and its parts (net/ipv4/tcp_cong.c; tcp_is_cwnd_limited and tcp_in_slow_start of include/net/tcp.h). */
export const kernelFunctions: Readonly<Record<KernelFunctionName, KernelFunction>> = {
  tcp_reno_ssthresh: (objects, address) => BigInt(Math.max(tcpSocket(objects, address).cwnd >>> 1, 2)),
  tcp_reno_undo_cwnd(objects, address) {
    const socket = tcpSocket(objects, address);
    return BigInt(Math.max(socket.cwnd, socket.read("prior_cwnd")));
  },
  tcp_slow_start: (objects, address, acked) => BigInt(slowStart(tcpSocket(objects, address), u32(acked))),
  tcp_cong_avoid_ai(objects, address, window, acked) {
    avoidCongestion(objects, tcpSocket(objects, address), u32(window), u32(acked));
  },
  tcp_reno_cong_avoid(objects, address, _ack, acked) {
    const socket = tcpSocket(objects, address);
    if (!isWindowLimited(socket)) return;
    let left = u32(acked);
    if (inSlowStart(socket)) {
      left = slowStart(socket, left);
      if (left === 0) return;
    }
    avoidCongestion(objects, socket, socket.cwnd, left);
  },
};
