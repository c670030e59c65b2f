/** `struct tcp_info` (include/uapi/linux/tcp.h), the fields that path measurements need. Older kernels give a prefix of it. */

type Field = readonly [offset: number, size: 1 | 4 | 8];

/** Times are in µs, rates in bytes per second (2^64-1 for "no limit" becomes Infinity). */
const fields = {
  state: [0, 1],
  /** Of the same segment, one after the other, and how often the timer was doubled for it. */
  retransmits: [2, 1],
  backoff: [4, 1],
  rtoUs: [8, 4],
  sndMss: [16, 4],
  rcvMss: [20, 4],
  unacked: [24, 4],
  lost: [32, 4],
  lastDataSentMs: [44, 4],
  lastDataReceivedMs: [52, 4],
  lastAckReceivedMs: [56, 4],
  rttUs: [68, 4],
  rttvarUs: [72, 4],
  sndSsthresh: [76, 4],
  sndCwnd: [80, 4],
  rcvRttUs: [92, 4],
  totalRetrans: [100, 4],
  pacingRateBytesPerSecond: [104, 8],
  maxPacingRateBytesPerSecond: [112, 8],
  bytesAcked: [120, 8],
  bytesReceived: [128, 8],
  notsentBytes: [144, 4],
  minRttUs: [148, 4],
  deliveryRateBytesPerSecond: [160, 8],
  bytesSent: [200, 8],
  bytesRetrans: [208, 8],
  sndWndBytes: [228, 4],
} as const satisfies Record<string, Field>;

/** The window scales share byte 6: the peer's (applied to windows we receive) in the low half, ours in the high one. */
const scaleOffset = 6;
const OPTION_WSCALE = 4;

export type TcpInfo = { readonly [name in keyof typeof fields]: number } & {
  /** Shift of the windows the peer announces to us. */
  readonly sndWscale: number;
  /** Shift of the windows we announce. */
  readonly rcvWscale: number;
  /** Whether window scaling was agreed on in the SYNs. */
  readonly windowScaling: boolean;
};

/** Reads as much as the kernel gave; absent fields are 0. */
export function parseTcpInfo(bytes: Uint8Array): TcpInfo {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const info: Record<string, number | boolean> = {};
  for (const [name, [offset, size]] of Object.entries(fields) as [string, Field][]) {
    info[name] = offset + size <= bytes.length ? read(data, offset, size) : 0;
  }
  const scales = bytes.length > scaleOffset ? data.getUint8(scaleOffset) : 0;
  info["sndWscale"] = scales & 0xf;
  info["rcvWscale"] = scales >> 4;
  info["windowScaling"] = bytes.length > scaleOffset && (data.getUint8(5) & OPTION_WSCALE) !== 0;
  return info as unknown as TcpInfo;
}

function read(data: DataView, offset: number, size: 1 | 4 | 8): number {
  if (size === 1) return data.getUint8(offset);
  if (size === 4) return data.getUint32(offset, true);
  const value = data.getBigUint64(offset, true);
  return value === 0xffff_ffff_ffff_ffffn ? Infinity : Number(value);
}
