/** UDP traffic at a rate of packets, whatever the network does with it. */
import { setTimeout as sleep } from "node:timers/promises";
import { withNetns } from "../../linux/netns.ts";
import { encodeSockaddr, AF_INET } from "../../linux/sockaddr.ts";
import {
  bindSocket,
  closeSocket,
  openSocket,
  setOption,
  SO_SNDBUFFORCE,
  SOCK_DGRAM,
  SOL_SOCKET,
  trySendTo,
} from "../../linux/socket-calls.ts";
import type { Lab } from "../lab.ts";
import type { PlannedLink } from "../plan.ts";
import { bare } from "../plan.ts";
import type { Direction } from "../spec.ts";

/** Ethernet, IPv4 and UDP headers. */
export const headerBytes = 14 + 20 + 8;
const port = 9;

export type FloodOptions = {
  readonly link: PlannedLink;
  readonly direction: Direction;
  /** Ethernet frames without checksum: 60 to 1514. */
  readonly frameBytes: number;
  readonly packetsPerSecond: number;
  /** Ends when so many were sent. */
  readonly packets: number;
};

/** Sends until all packets are sent. The receiving host discards them. */
export async function flood(lab: Lab, options: FloodOptions): Promise<void> {
  const { link, direction, packetsPerSecond, packets } = options;
  const [from, to] = direction === "forward" ? link.ends : [link.ends[1], link.ends[0]];
  const name = encodeSockaddr({ address: bare(to.ipv4), port });
  const payload = new Uint8Array(options.frameBytes - headerBytes);
  const open = (host: string) => withNetns(lab.host(host).netns, () => openSocket(AF_INET, SOCK_DGRAM, 17));
  // Nobody reads it; without it the receiver would answer with ICMP errors.
  const sink = open(to.host);
  const socket = open(from.host);
  try {
    // Room for all that the bottleneck's queue may hold.
    setOption(socket, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20);
    bindSocket(sink, { address: bare(to.ipv4), port });
    const startedAt = performance.now();
    for (let sent = 0; sent < packets;) {
      const due = Math.min(packets, Math.ceil(((performance.now() - startedAt) * packetsPerSecond) / 1000));
      // A long pause is not made up for in one burst: that would only overflow queues.
      for (const target = Math.min(due, sent + Math.max(200, packetsPerSecond / 10)); sent < target; sent++)
        trySendTo(socket, payload, name);
      await sleep(1);
    }
  } finally {
    closeSocket(socket);
    closeSocket(sink);
  }
}
