/** What the kernel tells of an MPTCP connection: SOL_MPTCP socket options (include/uapi/linux/mptcp.h). */
import type net from "node:net";
import { address } from "./ffi.ts";
import { decodeSockaddr, type SocketAddress } from "./sockaddr.ts";
import { getOption, hasErrno } from "./socket-calls.ts";
import { descriptorOf } from "./sockets.ts";
import { parseTcpInfo, type TcpInfo } from "./tcp-info.ts";

const SOL_MPTCP = 284;
/** Since Linux 6.5. */
const MPTCP_FULL_INFO = 4;

/** Layout of `struct mptcp_full_info`, `mptcp_subflow_info` and `mptcp_info`. */
const full = { sizeTcpUser: 4, sizeSubflowUser: 12, count: 16, arrays: 20, subflows: 24, tcp: 32, info: 40, size: 168 };
const subflow = { local: 8, remote: 136, size: 264 };
const tcpInfoSize = 256;
const maxSubflows = 16;

type Field = readonly [offset: number, size: 1 | 4 | 8];
const fields = {
  extraSubflows: [0, 1],
  addAddrSignal: [1, 1],
  addAddrAccepted: [2, 1],
  subflowsMax: [3, 1],
  addAddrSignalMax: [4, 1],
  addAddrAcceptedMax: [5, 1],
  flags: [8, 4],
  token: [12, 4],
  retransmits: [44, 4],
  bytesRetrans: [48, 8],
  bytesSent: [56, 8],
  bytesReceived: [64, 8],
  bytesAcked: [72, 8],
  /** Since Linux 6.8. */
  subflowsTotal: [80, 1],
  /** Since Linux 6.11: time since, in ms. */
  lastDataSentMs: [84, 4],
  lastDataReceivedMs: [88, 4],
  lastAckReceivedMs: [92, 4],
} as const satisfies Record<string, Field>;

/** Data sequence numbers: they start anywhere in 64 bits. */
const sequences = { writeSeq: 16, sndUna: 24, rcvNxt: 32 } as const;

const FLAG_FALLBACK = 1;

export type MptcpSubflow = { readonly local: SocketAddress; readonly remote: SocketAddress; readonly tcp: TcpInfo };

export type MptcpCounters = { readonly [name in keyof typeof fields]: number } & {
  /** Of the byte that the application writes next, of the first that the peer has not acknowledged, of the next to come. */
  readonly [name in keyof typeof sequences]: bigint;
} & {
  /** What the application wrote and the peer has not acknowledged as data: sent or not. */
  readonly unackedBytes: number;
};

/** Whether a connection is plain TCP, by its `flags`. */
export const hasFallenBack = ({ flags }: Pick<MptcpCounters, "flags">): boolean => (flags & FLAG_FALLBACK) !== 0;

export type MptcpInfo = MptcpCounters & {
  /** The connection is plain TCP: the peer or a middlebox did not take part. Then there are no subflows to list. */
  readonly fallback: boolean;
  readonly subflows: readonly MptcpSubflow[];
};

/**
 * The state of a connection and of each subflow.
 * @throws SystemCallError EOPNOTSUPP on kernels before 6.5.
 */
export function mptcpInfo(socket: net.Socket | number): MptcpInfo {
  const fd = typeof socket === "number" ? socket : descriptorOf(socket);
  const subflows = new Uint8Array(maxSubflows * subflow.size);
  const tcp = new Uint8Array(maxSubflows * tcpInfoSize);
  const bytes = new Uint8Array(full.size);
  const data = new DataView(bytes.buffer);
  data.setUint32(full.sizeTcpUser, tcpInfoSize, true);
  data.setUint32(full.sizeSubflowUser, subflow.size, true);
  data.setUint32(full.arrays, maxSubflows, true);
  data.setBigUint64(full.subflows, address(subflows), true);
  data.setBigUint64(full.tcp, address(tcp), true);
  let written: Uint8Array;
  try {
    written = getOption(fd, SOL_MPTCP, MPTCP_FULL_INFO, bytes);
  } catch (error) {
    if (hasErrno(error, "EOPNOTSUPP", "ENOPROTOOPT") && isFallback(fd)) {
      return { ...parseMptcpInfo(new Uint8Array(0)), fallback: true, subflows: [] };
    }
    throw error;
  }
  const info = parseMptcpInfo(written.subarray(full.info));
  const tcpSize = Math.min(data.getUint32(0, true), tcpInfoSize);
  const count = Math.min(data.getUint32(full.count, true), maxSubflows);
  return {
    ...info,
    fallback: hasFallenBack(info),
    subflows: Array.from({ length: count }, (_, i) => {
      const one = subflows.subarray(i * subflow.size, (i + 1) * subflow.size);
      return {
        local: decodeSockaddr(one.subarray(subflow.local)),
        remote: decodeSockaddr(one.subarray(subflow.remote)),
        tcp: parseTcpInfo(tcp.subarray(i * tcpInfoSize, i * tcpInfoSize + tcpSize)),
      };
    }),
  };
}

/** `struct mptcp_info`: as much as the kernel gave; absent fields are 0. */
export function parseMptcpInfo(bytes: Uint8Array): MptcpCounters {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const read = ([offset, size]: Field): number => {
    if (offset + size > bytes.length) return 0;
    if (size === 1) return data.getUint8(offset);
    return size === 4 ? data.getUint32(offset, true) : Number(data.getBigUint64(offset, true));
  };
  const sequence = (offset: number) => (offset + 8 <= bytes.length ? data.getBigUint64(offset, true) : 0n);
  return Object.fromEntries<number | bigint>([
    ...Object.entries(fields).map(([name, field]) => [name, read(field)] as const),
    ...Object.entries(sequences).map(([name, offset]) => [name, sequence(offset)] as const),
    ["unackedBytes", Number(BigInt.asUintN(64, sequence(sequences.writeSeq) - sequence(sequences.sndUna)))],
  ]) as MptcpCounters;
}

/** A connection that fell back answers like a TCP socket; a listener or a kernel without the option does not. */
export function isFallback(fd: number): boolean {
  const IPPROTO_TCP = 6;
  const TCP_IS_MPTCP = 43;
  try {
    return getOption(fd, IPPROTO_TCP, TCP_IS_MPTCP, new Uint8Array(4))[0] === 0;
  } catch {
    return false;
  }
}
