/** Round trips by ICMP echo: the other host's kernel answers, so that only the path and this process's waking up count. */
import { setTimeout as sleep } from "node:timers/promises";
import { watch } from "../../linux/ffi.ts";
import { withNetns } from "../../linux/netns.ts";
import { AF_INET, AF_INET6, encodeSockaddr } from "../../linux/sockaddr.ts";
import { closeSocket, openSocket, receive, SOCK_NONBLOCK, SOCK_RAW, trySendTo } from "../../linux/socket-calls.ts";
import type { Lab } from "../lab.ts";

const kinds = {
  4: { family: AF_INET, protocol: 1, request: 8, reply: 0 },
  6: { family: AF_INET6, protocol: 58, request: 128, reply: 129 },
} as const;

export type PingOptions = {
  readonly from: string;
  readonly to: string;
  readonly link: string;
  readonly family?: 4 | 6;
  readonly count?: number;
  readonly intervalMs?: number;
  /** How long to wait for the last answers. */
  readonly timeoutMs?: number;
};

export type PingResult = {
  readonly sent: number;
  /** Of the answers, in the order in which they came. */
  readonly rttsMs: readonly number[];
};

/** Pings a host over a link. */
export async function ping(lab: Lab, options: PingOptions): Promise<PingResult> {
  const { count = 20, intervalMs = 50, timeoutMs = 2000, family = 4 } = options;
  const target = lab.host(options.to).interfaces.find(({ link }) => link === options.link);
  if (target === undefined) throw new RangeError(`Cannot ping ${options.to}: it is not on link ${options.link}`);
  const kind = kinds[family];
  const name = encodeSockaddr({ address: family === 4 ? target.ipv4 : target.ipv6, port: 0 });
  const fd = withNetns(lab.host(options.from).netns, () =>
    openSocket(kind.family, SOCK_RAW | SOCK_NONBLOCK, kind.protocol),
  );
  const identifier = Math.floor(Math.random() * 0x1_0000);
  const sentAt = new Map<number, number>();
  const rttsMs: number[] = [];
  const buffer = new Uint8Array(256);
  const stop = watch(fd, () => {
    const now = performance.now();
    for (let length = receive(fd, buffer, 0); length !== undefined; length = receive(fd, buffer, 0)) {
      // IPv4 raw sockets give the IP header, too.
      const sequence = parseReply(buffer.subarray(family === 4 ? 20 : 0, length), kind.reply, identifier);
      const at = sequence === undefined ? undefined : sentAt.get(sequence);
      if (at === undefined) continue;
      sentAt.delete(sequence as number);
      rttsMs.push(now - at);
    }
  });
  try {
    for (let sequence = 0; sequence < count; sequence++) {
      const request = echo(kind.request, identifier, sequence);
      sentAt.set(sequence, performance.now());
      trySendTo(fd, request, name);
      await sleep(intervalMs);
    }
    for (const deadline = performance.now() + timeoutMs; sentAt.size > 0 && performance.now() < deadline;)
      await sleep(5);
  } finally {
    stop();
    closeSocket(fd);
  }
  return { sent: count, rttsMs };
}

function echo(type: number, identifier: number, sequence: number): Uint8Array {
  const bytes = new Uint8Array(64);
  const data = new DataView(bytes.buffer);
  data.setUint8(0, type);
  data.setUint16(4, identifier);
  data.setUint16(6, sequence);
  // For ICMPv6 the kernel fills the checksum in.
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += data.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  data.setUint16(2, ~sum & 0xffff);
  return bytes;
}

function parseReply(bytes: Uint8Array, type: number, identifier: number): number | undefined {
  if (bytes.length < 8 || bytes[0] !== type) return undefined;
  const data = new DataView(bytes.buffer, bytes.byteOffset);
  return data.getUint16(4) === identifier ? data.getUint16(6) : undefined;
}

/** The middle value; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return NaN;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
